# The tests: one program of all suites, and what runs it in other ways.

# The command line's reader is tested from within, as are the programs' statistics.
parse_src := $(addprefix examples/kd/,options.c option_table.c open.c text.c)
no_test := $(if $(filter 1,$(ONNX)),,tests/onnx/evaluate.c) tests/golden/% tests/consumer/% tests/kill/shim.c tests/blas/wrong_blas.c tests/musl/%
test_src := $(filter-out $(no_test),$(wildcard tests/*.c tests/*/*.c)) $(parse_src) examples/common/statistics.c
$(obj)/bin/tests: $(test_src:%.c=$(obj)/%.o) $(obj)/libkd_internal.a
check_libs = $(shell $(PKG_CONFIG) --libs check 2>/dev/null || echo -lcheck -lsubunit -lrt)
$(obj)/bin/tests: program_libs = $(check_libs)

# Debian has no Check for musl: its archive is taken, and what that wants of glibc is in tests/musl.
musl := $(findstring musl,$(CC))
ifneq ($(musl),)
check_libs = $(addprefix /usr/lib/$(machine)/,libcheck.a libsubunit.a)
$(obj)/bin/tests: $(obj)/tests/musl/glibc.o
$(obj)/tests/%.o: own := -isystem build/include
$(test_src:%.c=$(obj)/%.o): | build/include/check.h build/include/check_stdint.h
endif

# Preloaded by the tests of interruptions and of failing disks; never sanitized itself.
$(obj)/bin/shim.so: tests/kill/shim.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(std) $(warn) -O1 -g -fPIC -shared -o $@ $<
$(obj)/bin/wrong_blas.so: tests/blas/wrong_blas.c
	@mkdir -p $(@D)
	$(Q)$(compile) -fPIC -shared -o $@ $<

.PHONY: check run-tests
check: deps ## all tests a change must pass
	+@$(again) $(parallel) all run-tests

# run-tests SUITES="a b": some of them. RUNNER: what runs programs (an emulator, valgrind).
test_env = $(if $(SANITIZE)$(filter 1,$(DEBUG)),CK_TIMEOUT_MULTIPLIER=10) \
    $(if $(SANITIZE),ASAN_OPTIONS=allocator_may_return_null=1 TSAN_OPTIONS=allocator_may_return_null=1) \
    KD_BIN_DIR=$(obj)/bin KD_GOLDEN=tests/golden
run-tests: $(obj)/bin/tests $(if $(musl),,$(obj)/bin/shim.so) $(if $(SANITIZE),,$(obj)/libkd.a $(obj)/$(so)) \
    $(programs:%=$(obj)/bin/%) $(if $(filter openblas,$(BLAS)),$(obj)/bin/wrong_blas.so)
	@$(test_env) $(RUNNER) $(obj)/bin/tests $(SUITES)

# The tests of the kernels and of what stands on them, for arm64 under user-mode emulation.
arm_suites ?= base half activation norm pool fuse linear gemm conv conv_norm winograd golden_ops golden_models
.PHONY: check-arm
check-arm: deps ## the neon table's tests, cross-compiled, under QEMU
	@sh .ci/deps.sh arm
	+@$(again) $(parallel) run-tests CROSS=aarch64-linux-gnu- CC=aarch64-linux-gnu-gcc \
	    SUITES='$(arm_suites)' RUNNER='env CK_TIMEOUT_MULTIPLIER=20 qemu-aarch64-static' programs=kd

# Other compilers and C libraries: what computes, and what they could do otherwise.
build_suites ?= base half json file_read file_write activation norm linear gemm conv winograd golden_ops train
.PHONY: check-lto check-musl check-clang
check-lto: deps ## some suites, compiled at link time: CFLAGS=-flto
	+@$(again) $(parallel) run-tests CFLAGS=-flto SUITES='$(build_suites)' programs=kd
check-musl: deps ## some suites with musl instead of glibc
	@sh .ci/deps.sh musl
	+@$(again) $(parallel) run-tests CC=musl-gcc SUITES='$(build_suites)' programs=kd
check-clang: deps ## some suites, compiled by clang
	@sh .ci/deps.sh clang
	+@$(again) $(parallel) run-tests CC=clang SUITES='$(build_suites)' programs=kd

.PHONY: abi abi-update
abi: $(obj)/$(so) ## what programs are compiled against, compared with tests/abi/list.txt
	@CC='$(CC)' RUNNER='$(RUNNER)' sh tests/abi/check.sh $(obj)/$(so)
abi-update: $(obj)/$(so) ## write that list anew: the interface was changed on purpose
	@CC='$(CC)' RUNNER='$(RUNNER)' sh tests/abi/list.sh include $(obj)/$(so) >tests/abi/list.new
	@mv tests/abi/list.new tests/abi/list.txt

# What a run loses when it is killed: nothing.
KILLS ?= 20
.PHONY: kill
kill: deps ## kill training runs at random moments, KILLS times, and at every change of a file
	+@KD_KILLS=$(KILLS) KD_EVERY=1 $(again) $(parallel) run-tests SUITES="kill fault"

# Memory that is read before it is written, which no sanitizer here sees. valgrind knows no AVX-512,
# and is ten times slower on the AVX2 table's multiply-adds than on the generic one. A fuzz target
# wants a process of its own; the other tests' leaks are seen where they run in one.
VALGRIND_SUITES ?= base json half elementwise
VALGRIND_ISA ?= avx2
all_suites = $(shell sed -n 's/^SUITE(\(.*\))$$/\1/p' tests/suites.def)
valgrind_suites = $(if $(filter all,$(VALGRIND_SUITES)),$(all_suites),$(VALGRIND_SUITES))
valgrind = env CK_TIMEOUT_MULTIPLIER=100 KD_ISA=$(VALGRIND_ISA) valgrind -q --error-exitcode=9 --leak-check=full
.PHONY: check-valgrind
check-valgrind: deps ## some suites under valgrind; VALGRIND_SUITES=all VALGRIND_ISA=generic: all of them
	@sh .ci/deps.sh valgrind
	+@for s in $(valgrind_suites); do \
	    case $$s in fuzz) fork=yes;; *) fork=no;; esac; \
	    $(again) $(parallel) run-tests SUITES=$$s RUNNER="env CK_FORK=$$fork $(valgrind)" || exit 1; \
	done

# Do the tests notice faults? See tests/mutants/README.md.
MUTANTS ?= 200
MUTANTS_SEED ?= 1
.PHONY: mutants
mutants: deps $(obj)/bin/tests ## plant faults in copies of the tree, print those that no test notices; MUTANTS=N MUTANTS_SEED=S
	@$(PYTHON) tests/mutants/mutants.py --number $(MUTANTS) --seed $(MUTANTS_SEED) $(MUTANTS_ARGS)

# What OpenBLAS may change, where it serves every product it can.
product_suites := gemm linear grad recompute golden_ops golden_models train bits host host_settings
.PHONY: check-full
check-full: check abi ## check, kills, sanitizers, fuzzers, the other build options
	+@$(again) kill
	+@$(again) run-tests OPENMP=0 BLAS=builtin
	+@KD_BLAS=openblas $(again) run-tests BLAS=openblas SUITES='$(product_suites)'
	+@$(again) run-tests THREADS=0
	+@$(again) run-tests DEBUG=1
	+@$(again) run-tests SANITIZE=address,undefined
	+@$(again) run-tests SANITIZE=thread
	+@sh .ci/deps.sh clang && $(again) run-tests CC=clang
	+@$(again) check-musl
	+@$(again) check-lto
	@sh tests/build/build.sh
	+@sh .ci/deps.sh amalgamation && $(again) check-amalgamation
	@sh .ci/deps.sh consumer && sh tests/consumer/install.sh
	@sh tests/consumer/install.sh CC=musl-gcc
	+@$(again) check-arm
	@sh tests/consumer/install.sh CROSS=aarch64-linux-gnu- RUNNER=qemu-aarch64-static
	+@$(again) check-edge edge-dist
	+@$(again) fuzz FUZZ_SECONDS=60
	+@$(again) mutants MUTANTS=20

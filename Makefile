# libkd: make help lists the targets; make deps installs what the build needs.
# Options: BLAS=openblas|builtin OPENMP=0|1 THREADS=1|0 ZLIB=1|0 JPEG=1|0 PNG=1|0 CC= SANITIZE=address,undefined|thread DEBUG=1 V=1
# Objects of different options live in different folders and never mix.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

CC := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
AR := ar
OBJCOPY := objcopy
PYTHON ?= python3
PREFIX ?= /usr/local
version := 0.1.0
soname := libkd.so.0

# ---- options ---------------------------------------------------------------------------------
machine := $(shell $(CC) -dumpmachine 2>/dev/null)
hash := \#
has = $(shell printf '$(hash)include <$(1)>\n' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1 || echo 0)
OPENMP ?= 0
THREADS ?= 1
# The header may be another architecture's, so the library counts, too.
has_lib = $(if $(findstring /,$(shell $(CC) -print-file-name=lib$(1).so; $(CC) -print-file-name=lib$(1).a)),$(call has,$(2)),0)
ZLIB ?= $(call has_lib,z,zlib.h)
JPEG ?= $(call has_lib,jpeg,jpeglib.h)
PNG ?= $(call has_lib,png,png.h)
ZLIB := $(ZLIB)
JPEG := $(JPEG)
PNG := $(PNG)
BLAS ?= builtin
DEBUG ?= 0
SANITIZE ?=

isas := $(if $(findstring x86_64,$(machine)),generic avx2 avx512,$(if $(findstring aarch64,$(machine)),generic neon,generic))
isaflags_generic :=
isaflags_avx2 := -mavx2 -mfma
isaflags_avx512 := -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512
isaflags_neon :=
amxflags := $(isaflags_avx512) -mamx-tile -mamx-bf16
amx := $(if $(findstring x86_64,$(machine)),$(shell echo '$(hash)include <immintrin.h>' | $(CC) $(amxflags) -fsyntax-only -x c - 2>/dev/null && echo 1))

comma := ,
empty :=
space := $(empty) $(empty)
cfg_words = $(subst $(space),_,$(notdir $(CC))) $(firstword $(subst -, ,$(machine))) $(BLAS) \
    $(if $(filter 1,$(OPENMP)),openmp,$(if $(filter 0,$(THREADS)),serial)) \
    $(if $(filter 0,$(ZLIB)),nozlib) $(if $(filter 0,$(JPEG)),nojpeg) $(if $(filter 0,$(PNG)),nopng) \
    $(subst $(comma),+,$(SANITIZE)) $(if $(filter 1,$(DEBUG)),debug)
cfg := $(subst $(space),-,$(strip $(cfg_words)))
obj := build/obj/$(cfg)

std := -std=c11 -D_GNU_SOURCE
warn := -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wconversion -Wstrict-prototypes -Wundef -Wvla $(if $(WERROR),-Werror)
opt := $(if $(filter 1,$(DEBUG)),-O1 -g -DKDI_DEBUG=1,-O2 -g)
kernelopt := $(if $(filter 1,$(DEBUG)),-O1 -g,-O3 -g) -ffp-contract=fast -fno-math-errno -fno-trapping-math
san := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
omp := $(if $(filter 1,$(OPENMP)),-fopenmp)
info := blas=$(BLAS) threads=$(if $(filter 1,$(OPENMP)),openmp,$(if $(filter 0,$(THREADS)),none,own)) \
    zlib=$(ZLIB) jpeg=$(JPEG) png=$(PNG) isa=$(subst $(space),$(comma),$(isas) $(if $(amx),amx))
commit := $(if $(wildcard .git),$(shell h=$$(git rev-parse --short HEAD 2>/dev/null) && { git diff --quiet HEAD || h=$$h-dirty; echo $$h; }))
defs := -DKDI_ZLIB=$(ZLIB) -DKDI_JPEG=$(JPEG) -DKDI_PNG=$(PNG) -DKDI_THREADS=$(THREADS) \
    -DKDI_OPENBLAS=$(if $(filter openblas,$(BLAS)),1,0) -DKDI_AMX=$(if $(amx),1,0)
CFLAGS ?=
cflags = $(std) $(warn) $(opt) $(san) -Iinclude $(defs) $(CFLAGS)
libs := $(if $(filter openblas,$(BLAS)),-lopenblas) $(if $(filter 1,$(JPEG)),-ljpeg) $(if $(filter 1,$(PNG)),-lpng) $(if $(filter 1,$(ZLIB)),-lz) -lm -lpthread
Q := $(if $(filter 1,$(V)),,@)

# ---- sources ---------------------------------------------------------------------------------
isa_src := $(wildcard lib/kernel/isa/*.c)
amx_src := $(wildcard lib/kernel/amx/*.c)
lib_src := $(wildcard lib/*/*.c)
lib_obj := $(lib_src:%.c=$(obj)/%.o) $(foreach i,$(isas),$(isa_src:%.c=$(obj)/%.$(i).o)) $(if $(amx),$(amx_src:%.c=$(obj)/%.o))
common_src := $(wildcard examples/common/*.c)
kd_src := $(wildcard examples/kd/*.c) $(common_src)
parse_src := $(addprefix examples/kd/,options.c option_table.c open.c text.c) # what the fuzz target of kd's options reaches
embed_src := $(wildcard examples/embed/*.c)
demo_src := $(wildcard examples/demo/*.c) $(common_src)
experiments := cnn-to-cnn vit-to-cnn vit-to-vit # examples/experiments/cnn_to_cnn.c is experiment-cnn-to-cnn
experiment_mains := $(subst -,_,$(experiments:%=examples/experiments/%.c))
experiment_src := $(filter-out $(experiment_mains),$(wildcard examples/experiments/*.c)) $(common_src)
no_test := tests/golden/% tests/consumer/% tests/kill/shim.c tests/blas/wrong_blas.c
test_src := $(filter-out $(no_test),$(wildcard tests/*.c tests/*/*.c)) $(parse_src) examples/common/statistics.c
bench_src := $(wildcard bench/*.c) examples/common/statistics.c
fuzzers := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all deps demo experiments check check-full kill bench bench-peers fuzz docs format lint install uninstall dist clean help FORCE
programs := kd demo $(embed_src:examples/embed/%.c=%) $(experiments:%=experiment-%)
all: build/lib/libkd.a build/lib/libkd.so $(programs:%=build/bin/%) ## the library, the command line, the examples

# What the compiler cannot do without is named before it fails.
need_jsmn := $(if $(filter 1,$(call has,jsmn.h)),,missing)
$(lib_obj): | $(if $(need_jsmn),say_deps)
say_deps:
	@echo "libkd: jsmn.h is missing (Debian: libjsmn-dev). 'make deps' installs what the build needs." >&2; exit 1

$(obj)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) $(omp) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

define isa_rule
$(obj)/lib/kernel/isa/%.$(1).o: lib/kernel/isa/%.c
	@mkdir -p $$(@D)
	$(Q)$(CC) $$(cflags) $$(kernelopt) $$(isaflags_$(1)) -DKDI_ISA=$(1) -fPIC -fvisibility=hidden -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(isas),$(eval $(call isa_rule,$(i))))
$(obj)/lib/kernel/amx/%.o: opt := $(kernelopt) $(amxflags) -DKDI_ISA=amx
$(obj)/lib/base/ctx.o: defs += '-DKDI_BUILD_INFO="$(info) commit=$(or $(commit),unknown)"'
$(obj)/lib/base/ctx.o: build/.commit
build/.commit: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$(commit)" ] || echo "$(commit)" >$@
# The optimisers are loops over arrays.
$(obj)/lib/train/adamw.o $(obj)/lib/train/sgd.o: opt := $(kernelopt)

# One relocatable object whose hidden symbols are local: nothing but kd_* leaves the archive.
$(obj)/libkd.a: $(lib_obj)
	$(Q)$(CC) -r -nostdlib -o $(obj)/libkd.o $(lib_obj)
	$(Q)$(OBJCOPY) --localize-hidden $(obj)/libkd.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(obj)/libkd.o
$(obj)/libkd_internal.a: $(lib_obj) # the tests also look inside
	$(Q)rm -f $@ && $(AR) rcs $@ $(lib_obj)
$(obj)/libkd.so: $(lib_obj) lib/libkd.map
	$(Q)$(CC) -shared $(san) $(omp) -Wl,-soname,$(soname) -Wl,-Bsymbolic-functions -Wl,--version-script=lib/libkd.map -o $@ $(lib_obj) $(libs)

# The products of the last options built; the stamp changes with them.
build/.cfg: FORCE
	@mkdir -p build; [ "$$(cat $@ 2>/dev/null)" = "$(cfg)" ] || echo "$(cfg)" >$@
build/lib/%: $(obj)/% build/.cfg
	@mkdir -p $(@D); cp $< $@; [ "$*" != libkd.so ] || ln -sf libkd.so build/lib/$(soname)
build/bin/%: $(obj)/bin/% build/.cfg
	@mkdir -p $(@D); cp $< $@

$(obj)/bin/kd: $(kd_src:%.c=$(obj)/%.o) $(obj)/libkd.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
$(obj)/bin/demo: $(demo_src:%.c=$(obj)/%.o) $(obj)/libkd.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
define experiment_rule
$(obj)/bin/experiment-$(1): $(obj)/examples/experiments/$(subst -,_,$(1)).o $(experiment_src:%.c=$(obj)/%.o) $(obj)/libkd.a
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(san) $$(omp) -o $$@ $$^ $$(libs)
endef
$(foreach e,$(experiments),$(eval $(call experiment_rule,$(e))))
$(obj)/bin/%: $(obj)/examples/embed/%.o $(obj)/libkd.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
$(obj)/bin/bench: $(bench_src:%.c=$(obj)/%.o) $(obj)/libkd_internal.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(libs)
check_libs = $(shell pkg-config --libs check 2>/dev/null || echo -lcheck -lsubunit -lrt)
$(obj)/bin/tests: $(test_src:%.c=$(obj)/%.o) $(obj)/libkd_internal.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(san) $(omp) -o $@ $^ $(check_libs) $(libs)
# Preloaded by the tests of interruptions and of failing disks; never sanitized itself.
$(obj)/bin/shim.so: tests/kill/shim.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(std) $(warn) -O1 -g -fPIC -shared -o $@ $<
$(obj)/bin/wrong_blas.so: tests/blas/wrong_blas.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -fPIC -shared -o $@ $<

-include $(shell [ ! -d $(obj) ] || find $(obj) -name '*.d')

# As many jobs as processors, unless make was told how many.
parallel = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

# ---- tasks -----------------------------------------------------------------------------------
deps: ## install what is missing with the system's package manager
	@sh .ci/deps.sh

demo: deps ## a teacher, a student alone and the student distilled, as a table and a picture
	@$(MAKE) --no-print-directory $(parallel) build/bin/demo
	@build/bin/demo

SCALE ?= smoke
experiment_seeds := $(if $(filter full,$(SCALE)),1 2 3 4 5,$(if $(filter short,$(SCALE)),1 2 3,1))
experiments: deps ## the study's first experiments, resumable: SCALE=smoke|short|full; EXPERIMENT=their options
	@$(MAKE) --no-print-directory $(parallel) $(experiments:%=build/bin/experiment-%)
	@for n in $(experiment_seeds); do for e in $(experiments); do build/bin/experiment-$$e --scale $(SCALE) --seeds $$n $(EXPERIMENT) || exit; done; done

check: deps ## all tests a change must pass
	@$(MAKE) --no-print-directory $(parallel) all run-tests
.PHONY: run-tests
test_env = OMP_WAIT_POLICY=passive $(if $(SANITIZE)$(filter 1,$(DEBUG)),CK_TIMEOUT_MULTIPLIER=10) \
    $(if $(SANITIZE),ASAN_OPTIONS=allocator_may_return_null=1 TSAN_OPTIONS=allocator_may_return_null=1) \
    KD_BIN_DIR=$(obj)/bin KD_GOLDEN=tests/golden
run-tests: $(obj)/bin/tests $(obj)/bin/shim.so $(if $(SANITIZE),,$(obj)/libkd.a $(obj)/libkd.so) \
    $(programs:%=$(obj)/bin/%) $(if $(filter openblas,$(BLAS)),$(obj)/bin/wrong_blas.so)
	@$(test_env) $(RUNNER) $(obj)/bin/tests $(SUITES)

# The tests of the kernels and of what stands on them, for arm64 under user-mode emulation.
arm_suites ?= base half activation norm pool fuse linear gemm conv conv_norm winograd golden_ops golden_models
.PHONY: check-arm
check-arm: deps ## the neon table's tests, cross-compiled, under QEMU
	@sh .ci/deps.sh arm
	@$(MAKE) --no-print-directory $(parallel) run-tests CC=aarch64-linux-gnu-gcc OBJCOPY=aarch64-linux-gnu-objcopy \
	    SUITES='$(arm_suites)' RUNNER='env CK_TIMEOUT_MULTIPLIER=20 qemu-aarch64-static' programs=kd

.PHONY: abi abi-update
abi: $(obj)/libkd.so ## what programs are compiled against, compared with tests/abi/list.txt
	@CC='$(CC)' RUNNER='$(RUNNER)' sh tests/abi/check.sh $(obj)/libkd.so
abi-update: $(obj)/libkd.so ## write that list anew: the interface was changed on purpose
	@CC='$(CC)' RUNNER='$(RUNNER)' sh tests/abi/list.sh include $(obj)/libkd.so >tests/abi/list.new && mv tests/abi/list.new tests/abi/list.txt

# What a run loses when it is killed: nothing.
KILLS ?= 20
kill: deps ## kill training runs at random moments, KILLS times, and at every change of a file
	@KD_KILLS=$(KILLS) KD_EVERY=1 $(MAKE) --no-print-directory $(parallel) run-tests SUITES="kill fault"

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
	@for s in $(valgrind_suites); do \
	    case $$s in fuzz) fork=yes;; *) fork=no;; esac; \
	    $(MAKE) --no-print-directory $(parallel) run-tests SUITES=$$s RUNNER="env CK_FORK=$$fork $(valgrind)" || exit 1; \
	done

# Do the tests notice faults? See tests/mutants/README.md.
MUTANTS ?= 200
MUTANTS_SEED ?= 1
.PHONY: mutants
mutants: deps $(obj)/bin/tests ## plant faults in copies of the tree, print those that no test notices; MUTANTS=N MUTANTS_SEED=S
	@$(PYTHON) tests/mutants/mutants.py --number $(MUTANTS) --seed $(MUTANTS_SEED) $(MUTANTS_ARGS)

check-full: check abi ## check, kills, sanitizers, fuzzers, the other build options
	@$(MAKE) --no-print-directory kill
	@$(MAKE) --no-print-directory run-tests OPENMP=1
	@$(MAKE) --no-print-directory run-tests THREADS=0
	@$(MAKE) --no-print-directory run-tests DEBUG=1
	@$(MAKE) --no-print-directory run-tests SANITIZE=address,undefined
	@$(MAKE) --no-print-directory run-tests SANITIZE=thread
	@sh .ci/deps.sh clang && $(MAKE) --no-print-directory run-tests CC=clang
	@sh .ci/deps.sh openblas && $(MAKE) --no-print-directory run-tests BLAS=openblas
	@sh tests/consumer/install.sh
	@$(MAKE) --no-print-directory check-arm
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=60
	@$(MAKE) --no-print-directory mutants MUTANTS=20

bench: $(obj)/bin/bench ## our figures: kernels against the machine's peak, whole steps
	@mkdir -p build/bench && $(obj)/bin/bench $(BENCH)
bench-peers: $(obj)/bin/bench ## ours against PyTorch, interleaved in one run
	@mkdir -p build/bench && sh bench/peers/run.sh $(obj)/bin/bench

# Fuzz targets are built by clang with everything they reach instrumented.
FUZZ_SECONDS ?= $(if $(FUZZ_RUNS),0,60)
FUZZ_RUNS ?=
fuzz_obj := build/fuzz
fuzz: ## run each fuzz target for FUZZ_SECONDS, or FUZZ_RUNS executions; FUZZERS="json spec" runs some
	@sh .ci/deps.sh clang
	@$(MAKE) --no-print-directory $(FUZZERS:%=$(fuzz_obj)/%) CC=clang SANITIZE=address,undefined,fuzzer-no-link
	@FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_RUNS=$(FUZZ_RUNS) sh tests/fuzz/run.sh $(fuzz_obj) $(FUZZERS)
FUZZERS ?= $(fuzzers)
# No input decides where kernels branch, and the targets' own tools are none of the library's code:
# without their counters each execution is quicker.
$(obj)/lib/kernel/% $(obj)/lib/op/% $(obj)/tests/fuzz/fuzz.o: san := $(subst $(comma)fuzzer-no-link,,$(san))
# Code that looks at one byte after the other compares nothing whose other side were worth trying.
$(obj)/lib/file/json.o $(obj)/lib/data/jpeg.o $(obj)/examples/kd/text.o: san += $(if $(findstring fuzzer,$(SANITIZE)),-fno-sanitize-coverage=trace-cmp)
$(fuzz_obj)/options: $(parse_src:%.c=$(obj)/%.o)
$(fuzz_obj)/%: tests/fuzz/fuzz_%.c $(wildcard tests/fuzz/*.h) tests/fuzz/targets.def $(obj)/tests/fuzz/fuzz.o $(obj)/libkd_internal.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -DFUZZ_ALONE -fsanitize=fuzzer -o $@ $(filter %.c,$^) $(filter %.o,$^) $(filter %.a,$^) $(libs)

docs: ## the reference, from the public headers, into build/docs
	@mkdir -p build/docs && sh docs/reference.sh include/kd >build/docs/reference.md && echo build/docs/reference.md

ours := $(wildcard include/kd/*.h lib/*/*.[ch] lib/kernel/isa/*.[ch] lib/kernel/amx/*.[ch] examples/*/*.[ch] bench/*.[ch] tests/*.[ch] tests/*/*.[ch] tests/*/*.cpp)
format: ## clang-format, in place
	@clang-format -i $(ours)
# gcc's analyzer takes a vector for one number, so lib/kernel/isa is clang-tidy's alone; cppcheck knows no vectors.
lint_src := $(lib_src) $(isa_src) $(amx_src) $(kd_src)
lint_flags := $(std) -Iinclude $(defs) -DKDI_ISA=generic
each_core = xargs -P $$(nproc 2>/dev/null || echo 2) -n 1
lint: ## format, cppcheck, clang-tidy, gcc -fanalyzer and the shell scripts
	@sh .ci/deps.sh lint
	@clang-format --dry-run -Werror $(ours)
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability -Iinclude $(filter-out $(isa_src) $(amx_src),$(lint_src))
	@printf '%s\n' $(lint_src) | $(each_core) sh -c 'f=$$1; case $$f in lib/kernel/amx/*) set -- $(amxflags) -UKDI_ISA -DKDI_ISA=amx;; *) set --;; esac; clang-tidy --quiet "$$f" -- $(lint_flags) "$$@" 2>/dev/null' tidy
	@printf '%s\n' $(filter-out $(isa_src) $(amx_src),$(lint_src)) | $(each_core) sh -c 'gcc $(lint_flags) -O2 -fanalyzer -Werror -c -o /dev/null "$$1"' analyzer
	@shellcheck .ci/*.sh docs/*.sh tests/*/*.sh

prefix := $(DESTDIR)$(PREFIX)
made_by_kd := bash-completion/completions/kd zsh/site-functions/_kd man/man1/kd.1
install: all ## headers, library, kd, pkg-config file under PREFIX
	@mkdir -p $(prefix)/include/kd $(prefix)/lib/pkgconfig $(prefix)/bin $(prefix)/share/doc/libkd
	@cp include/kd/*.h $(prefix)/include/kd/
	@cp build/lib/libkd.a $(prefix)/lib/ && cp build/lib/libkd.so $(prefix)/lib/libkd.so.$(version)
	@ln -sf libkd.so.$(version) $(prefix)/lib/$(soname) && ln -sf $(soname) $(prefix)/lib/libkd.so
	@cp build/bin/kd $(prefix)/bin/ && cp README.md LICENSE CHANGELOG.md docs/*.md $(prefix)/share/doc/libkd/
	@mkdir -p $(dir $(made_by_kd:%=$(prefix)/share/%))
	@$(RUNNER) build/bin/kd completion bash >$(prefix)/share/$(word 1,$(made_by_kd))
	@$(RUNNER) build/bin/kd completion zsh >$(prefix)/share/$(word 2,$(made_by_kd))
	@$(RUNNER) build/bin/kd manual >$(prefix)/share/$(word 3,$(made_by_kd))
	@printf 'prefix=%s\nName: libkd\nDescription: training and distilling vision networks in C\nVersion: %s\nCflags: -I$${prefix}/include\nLibs: -L$${prefix}/lib -lkd\nLibs.private: %s\n' \
	    '$(PREFIX)' '$(version)' '$(omp) $(libs)' >$(prefix)/lib/pkgconfig/libkd.pc
uninstall: ## remove what install put there
	@rm -rf $(prefix)/include/kd $(prefix)/share/doc/libkd
	@rm -f $(prefix)/lib/libkd.a $(prefix)/lib/libkd.so $(prefix)/lib/$(soname) $(prefix)/lib/libkd.so.$(version) \
	    $(prefix)/lib/pkgconfig/libkd.pc $(prefix)/bin/kd $(made_by_kd:%=$(prefix)/share/%)
dist: ## build/libkd-VERSION.tar.gz of what is committed
	@mkdir -p build && git archive --prefix=libkd-$(version)/ -o build/libkd-$(version).tar.gz HEAD && echo build/libkd-$(version).tar.gz

clean: ## remove build/
	rm -rf build
help: ## this list
	@grep -hE '^[a-z-]+:.*\#\# ' $(MAKEFILE_LIST) | sed 's/:.*\#\# /\t/' | expand -t 16

# Fuzz targets are built by clang with everything they reach instrumented.

fuzzers := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZERS ?= $(fuzzers)
FUZZ_SECONDS ?= $(if $(FUZZ_RUNS),0,60)
FUZZ_RUNS ?=
fuzz_obj := build/fuzz

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZ_SECONDS, or FUZZ_RUNS executions; FUZZERS="json spec" runs some
	@sh .ci/deps.sh clang
	+@$(again) $(FUZZERS:%=$(fuzz_obj)/%) CC=clang OPENMP=0 BLAS=builtin \
	    SANITIZE=address,undefined,fuzzer-no-link
	@FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_RUNS=$(FUZZ_RUNS) sh tests/fuzz/run.sh $(fuzz_obj) $(FUZZERS)

fuzz_needs := $(wildcard tests/fuzz/*.h) tests/fuzz/targets.def $(obj)/tests/fuzz/fuzz.o $(obj)/libkd_internal.a
$(fuzz_obj)/options: $(parse_src:%.c=$(obj)/%.o)
$(fuzz_obj)/%: tests/fuzz/fuzz_%.c $(fuzz_needs)
	@mkdir -p $(@D)
	$(Q)$(compile) $(LDFLAGS) -DFUZZ_ALONE -fsanitize=fuzzer -o $@ $(filter %.c,$^) $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) $(libs)

# No input decides where kernels branch, and the targets' own tools are none of the library's code:
# without their counters each execution is quicker.
edge_kernels := conv_i8 conv_rows linear_i8 pool_i8 crc selftest
$(obj)/lib/kernel/% $(obj)/lib/op/% $(edge_kernels:%=$(obj)/lib/edge/edge_%.o) $(obj)/tests/fuzz/fuzz.o: san := $(subst $(comma)fuzzer-no-link,,$(san))
# Code that looks at one byte after the other compares nothing whose other side were worth trying.
no_trace := $(if $(findstring fuzzer,$(SANITIZE)),-fno-sanitize-coverage=trace-cmp)
$(obj)/lib/file/json.o $(obj)/lib/data/jpeg.o $(obj)/examples/kd/text.o: san += $(no_trace)

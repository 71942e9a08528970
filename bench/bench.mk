# Figures: ours, and ours against PyTorch's.

bench_src := $(wildcard bench/*.c) examples/common/statistics.c
$(obj)/bin/bench: $(bench_src:%.c=$(obj)/%.o) $(obj)/libkd_internal.a

.PHONY: bench bench-peers
bench: $(obj)/bin/bench ## our figures: kernels against the machine's peak, whole steps
	@mkdir -p build/bench && $(obj)/bin/bench $(BENCH)
bench-peers: $(obj)/bin/bench ## ours against PyTorch, interleaved in one run
	@mkdir -p build/bench && sh bench/peers/run.sh $(obj)/bin/bench

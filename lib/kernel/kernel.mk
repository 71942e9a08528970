# The kernel tables: lib/kernel/isa is compiled once for each instruction set, lib/kernel/amx replaces two entries.

isas_x86_64 := generic avx2 avx512
isas_aarch64 := generic neon
isas := $(or $(isas_$(firstword $(subst -, ,$(machine)))),generic)
isaflags_generic :=
isaflags_avx2 := -mavx2 -mfma
isaflags_avx512 := -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512
isaflags_neon :=

amxflags := $(isaflags_avx512) -mamx-tile -mamx-bf16
takes_amx = $(shell echo '$(hash)include <immintrin.h>' | $(CC) $(amxflags) -fsyntax-only -xc - 2>/dev/null && echo 1)
amx := $(if $(filter avx512,$(isas)),$(takes_amx))
defs += -DKDI_AMX=$(if $(amx),1,0)

kernelopt := $(if $(filter 1,$(DEBUG)),-O1 -g,-O3 -g) -ffp-contract=fast -fno-math-errno -fno-trapping-math
isa_src := $(wildcard lib/kernel/isa/*.c)
amx_src := $(wildcard lib/kernel/amx/*.c)
kernel_obj := $(foreach i,$(isas),$(isa_src:%.c=$(obj)/%.$(i).o)) $(if $(amx),$(amx_src:%.c=$(obj)/%.o))

define isa_rule
$(obj)/lib/kernel/isa/%.$(1).o: lib/kernel/isa/%.c
	@mkdir -p $$(@D)
	$(Q)$$(compile) $$(kernelopt) $$(isaflags_$(1)) -DKDI_ISA=$(1) -fPIC -fvisibility=hidden -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(isas),$(eval $(call isa_rule,$(i))))
$(obj)/lib/kernel/amx/%.o: opt := $(kernelopt) $(amxflags) -DKDI_ISA=amx

# The kernel tables: which there are, best first, is said here alone (select.c makes its list of it).
# lib/kernel/isa is compiled once for each instruction set; lib/kernel/amx is avx512 with other products.

isas_x86_64 := avx512 avx2 generic
isas_aarch64 := neon generic
isas := $(or $(isas_$(arch)),generic)
isaflags_avx2 := -mavx2 -mfma
isaflags_avx512 := -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -mprefer-vector-width=512
isaflags_amx := $(isaflags_avx512) -mamx-tile -mamx-bf16
isaflags_generic := -DKDI_BASELINE=1

takes_amx = $(shell echo '$(hash)include <immintrin.h>' | $(CC) $(isaflags_amx) -fsyntax-only -xc - 2>/dev/null && echo 1)
amx := $(if $(filter avx512,$(isas)),$(if $(takes_amx),amx))
tables := $(amx) $(isas)
$(obj)/lib/kernel/select.o: own := '-DKDI_TABLES=$(foreach t,$(tables),KDI_TABLE($(t)))'

# A table is for the processors that select.c runs it on, whatever processor CFLAGS ask for.
baseline := $(if $(filter x86_64,$(arch)),-march=x86-64,$(if $(filter aarch64,$(arch)),-march=armv8-a))
processor := -march=% -mcpu=% -msse% -mavx% -mfma% -mf16c -mbmi%
kernel_caller := $(CPPFLAGS) $(if $(baseline),$(filter-out $(processor),$(CFLAGS)),$(CFLAGS))
# Functions begin on a cache line: where a table's loops lie must not depend on unrelated code. Zen 3 lost 5 % of a
# training step of deit_tiny when its product moved by 16 bytes.
aligned := -falign-functions=64
kernelopt := $(if $(filter 1,$(DEBUG)),-O1 -g,-O3 -g) -ffp-contract=fast -fno-math-errno -fno-trapping-math $(aligned)

isa_src := $(wildcard lib/kernel/isa/*.c)
amx_src := $(wildcard lib/kernel/amx/*.c)
kernel_obj := $(foreach i,$(isas),$(isa_src:%.c=$(obj)/%.$(i).o)) $(if $(amx),$(amx_src:%.c=$(obj)/%.o))

define table_rule
$(obj)/lib/kernel/$(2): caller := $(kernel_caller)
$(obj)/lib/kernel/$(2): own := $(kernelopt) $(baseline) $(isaflags_$(1)) -DKDI_ISA=$(1)
endef
define isa_rule
$(obj)/lib/kernel/isa/%.$(1).o: lib/kernel/isa/%.c
	$$(compile_object)
endef
$(foreach i,$(isas),$(eval $(call isa_rule,$(i)))$(eval $(call table_rule,$(i),isa/%.$(i).o)))
$(eval $(call table_rule,amx,amx/%.o))

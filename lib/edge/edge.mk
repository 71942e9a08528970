# libkd-edge.a, the runtime for microcontrollers, for this machine or another:
#   make edge CROSS=arm-none-eabi- EDGE_CFLAGS="-mcpu=cortex-m4 -mthumb"
# EDGE_NAME: the folder under build/edge, by default made of the compiler, EDGE_OPT and EDGE_CFLAGS: who names one keeps to these.

edge_cc := $(if $(CROSS),$(CROSS)gcc,$(CC))
edge_ar := $(CROSS)ar
EDGE_CFLAGS ?=
EDGE_OPT ?= $(if $(findstring none,$(CROSS)),-Os,-O2)
edge_words = $(notdir $(edge_cc)) $(EDGE_OPT) $(EDGE_CFLAGS)
EDGE_NAME ?= $(subst $(space),_,$(strip $(subst =,_,$(subst +,_,$(edge_words)))))
edge_dir := build/edge/$(EDGE_NAME)
edge_src := $(filter-out lib/edge/edge_exporter.c,$(wildcard lib/edge/*.c))
edge_warn := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wundef -Wvla $(if $(WERROR),-Werror)
edge_flags = -std=c99 -pedantic $(EDGE_OPT) -ffreestanding -ffunction-sections -fdata-sections $(edge_warn) \
    -Iinclude $(EDGE_CFLAGS)

$(edge_dir)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(edge_cc) $(edge_flags) -MMD -MP -c -o $@ $<
-include $(shell [ ! -d $(edge_dir) ] || find $(edge_dir) -name '*.d')

$(edge_dir)/libkd-edge.a: $(edge_src:%.c=$(edge_dir)/%.o)
	$(Q)rm -f $@ && $(edge_ar) rcs $@ $^

.PHONY: edge check-edge
edge: $(edge_dir)/libkd-edge.a ## libkd-edge.a for this machine, or for CROSS= and EDGE_CFLAGS=
	@echo $<
check-edge: ## the runtime for microcontrollers on every machine that QEMU has: bits, sizes, stack
	@sh .ci/deps.sh edge
	@sh tests/edge/check.sh
.PHONY: edge-dist
edge-dist: ## build/libkd-edge: the runtime with the manifests of Zephyr, ESP-IDF, Arduino, PlatformIO, CMake
	@sh lib/edge/dist.sh $(version) build/libkd-edge

# The programs: kd, the demo, the embedders' examples, the experiments. 'make' builds $(programs).

common_src := $(wildcard examples/common/*.c)
kd_src := $(wildcard examples/kd/*.c) $(common_src)
demo_src := $(wildcard examples/demo/*.c) $(common_src)
embed := $(patsubst examples/embed/%.c,%,$(wildcard examples/embed/*.c))

experiments := cnn-to-cnn vit-to-cnn vit-to-vit # examples/experiments/cnn_to_cnn.c is experiment-cnn-to-cnn
experiment_mains := $(subst -,_,$(experiments:%=examples/experiments/%.c))
experiment_src := $(filter-out $(experiment_mains),$(wildcard examples/experiments/*.c)) $(common_src)

programs += kd demo $(embed) $(experiments:%=experiment-%)

# All programs, also the tests' and the bench, are linked from the objects and archives they depend on.
$(obj)/bin/%:
	@mkdir -p $(@D)
	$(Q)$(link) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(program_libs) $(LDLIBS) $(libs)
$(obj)/bin/kd: $(kd_src:%.c=$(obj)/%.o) $(obj)/libkd.a
$(obj)/bin/demo: $(demo_src:%.c=$(obj)/%.o) $(obj)/libkd.a
$(embed:%=$(obj)/bin/%): $(obj)/bin/%: $(obj)/examples/embed/%.o $(obj)/libkd.a
$(experiments:%=$(obj)/bin/experiment-%): $(experiment_src:%.c=$(obj)/%.o) $(obj)/libkd.a
define experiment_main
$(obj)/bin/experiment-$(1): $(obj)/examples/experiments/$(subst -,_,$(1)).o
endef
$(foreach e,$(experiments),$(eval $(call experiment_main,$(e))))

.PHONY: demo experiments
demo: deps ## a teacher, a student alone and the student distilled, as a table and a picture
	+@$(again) $(parallel) build/bin/demo
	@build/bin/demo

SCALE ?= smoke
experiment_seeds := $(if $(filter full,$(SCALE)),1 2 3 4 5,$(if $(filter short,$(SCALE)),1 2 3,1))
experiments: deps ## the study's first experiments, resumable: SCALE=smoke|short|full; EXPERIMENT=their options
	+@$(again) $(parallel) $(experiments:%=build/bin/experiment-%)
	@for n in $(experiment_seeds); do for e in $(experiments); do \
	    build/bin/experiment-$$e --scale $(SCALE) --seeds $$n $(EXPERIMENT) || exit; \
	done; done

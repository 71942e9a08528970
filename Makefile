# libkd: 'make help' lists the targets, lib/options.mk has the options. What builds a part of the tree lies in
# that part (lib/lib.mk, tests/tests.mk, ...): every *.mk one or two folders deep is read.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: FORCE
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

first := lib/options.mk lib/kernel/kernel.mk lib/lib.mk
include $(first)
include $(filter-out build/% $(first),$(sort $(wildcard */*.mk)) $(sort $(wildcard */*/*.mk)))

.PHONY: all deps docs format lint clean help
all: build/lib/libkd.a build/lib/$(so) $(programs:%=build/bin/%) ## the library, the command line, the examples

deps: ## install what is missing with the system's package manager
	@sh .ci/deps.sh

docs: ## the reference, from the public headers, into build/docs: a page of text, and HTML with a search (Doxygen)
	@sh .ci/deps.sh docs
	@mkdir -p build/docs && sh docs/reference.sh include/kd >build/docs/reference.md && echo build/docs/reference.md
	@KD_VERSION=$(version) doxygen docs/Doxyfile && echo build/docs/html/index.html

clean: ## remove build/
	rm -rf build
help: ## this list
	@grep -hE '^[a-z-]+:.*\#\# ' $(filter-out build/%,$(MAKEFILE_LIST)) | sed 's/:.*\#\# /\t/' | expand -t 16

# ---- the sources' form -----------------------------------------------------------------------
folders := include/kd lib/* lib/kernel/isa lib/kernel/amx examples/* bench tests tests/*
ours := $(wildcard $(folders:%=%/*.[ch]) tests/*/*.cpp)
format: ## clang-format, in place
	@clang-format -i $(ours)

# gcc's analyzer takes a vector for one number, so lib/kernel/isa is clang-tidy's alone; cppcheck knows no vectors.
lint_src := $(lib_src) $(isa_src) $(amx_src) $(kd_src)
lint_scalar := $(filter-out $(isa_src) $(amx_src),$(lint_src))
lint_flags := $(std) -Iinclude $(if $(filter 1,$(ONNX)),-Ibuild/onnx) $(defs) -DKDI_ISA=generic
cppcheck := cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability
tidy = case $$1 in lib/kernel/amx/*) amx="$(isaflags_amx) -UKDI_ISA -DKDI_ISA=amx";; *) amx=;; esac; \
    clang-tidy --quiet "$$1" -- $(lint_flags) $$amx 2>/dev/null
analyze = gcc $(lint_flags) -O2 -fanalyzer -Werror -c -o /dev/null "$$1"
each_core = xargs -P $$(nproc 2>/dev/null || echo 2) -n 1
lint: $(if $(filter 1,$(ONNX)),build/onnx/onnx.pb-c.h) ## format, cppcheck, clang-tidy, gcc -fanalyzer, the shell scripts and the licences
	@sh .ci/deps.sh lint
	@clang-format --dry-run -Werror $(ours)
	@$(cppcheck) -Iinclude $(lint_scalar)
	@printf '%s\n' $(lint_src) | $(each_core) sh -c '$(tidy)' tidy
	@printf '%s\n' $(lint_scalar) | $(each_core) sh -c '$(analyze)' analyze
	@shellcheck .ci/*.sh docs/*.sh tests/*/*.sh
	@reuse lint --quiet

# What is given away: install, uninstall, dist.

.PHONY: install uninstall dist
PREFIX ?= /usr/local
prefix := $(DESTDIR)$(PREFIX)
made_by_kd := bash-completion/completions/kd zsh/site-functions/_kd man/man1/kd.1

define pkgconfig
prefix=$(PREFIX)
Name: libkd
Description: training and distilling vision networks in C
Version: $(version)
Cflags: -I$${prefix}/include
Libs: -L$${prefix}/lib -lkd
Libs.private: $(strip $(omp) $(libs))
endef
export pkgconfig

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
	@printf '%s\n' "$$pkgconfig" >$(prefix)/lib/pkgconfig/libkd.pc
uninstall: ## remove what install put there
	@rm -rf $(prefix)/include/kd $(prefix)/share/doc/libkd
	@rm -f $(prefix)/lib/libkd.a $(prefix)/lib/libkd.so $(prefix)/lib/$(soname) $(prefix)/lib/libkd.so.$(version) \
	    $(prefix)/lib/pkgconfig/libkd.pc $(prefix)/bin/kd $(made_by_kd:%=$(prefix)/share/%)
dist: ## build/libkd-VERSION.tar.gz of what is committed
	@mkdir -p build && git archive --prefix=libkd-$(version)/ -o build/libkd-$(version).tar.gz HEAD
	@echo build/libkd-$(version).tar.gz

# Rondo's only build file.
#
#   make            the programs, in build/
#   make demo       from nothing to Debian's login prompt (installs packages as root)
#   make test       every test, in TAP, through prove        make test-long   the full-length soaks
#   make asan       the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make torture    each allocation and each system call fails in turn, in scenarios over the whole product
#   make fuzz       every fuzz target for FUZZ_SECONDS (10)   make bench       the tables of docs/benchmarks.md
#   make coverage   what tests and corpora reach of every parser of untrusted bytes; fails below 95 % of the branches
#   make lint       clang-format, clang-tidy, cppcheck        make install     DESTDIR, PREFIX
#
# One static library per folder (build/base.a, ...), one binary per program. A program's own files are
# those of its folder; the file that holds its main() ends in _main.c and stays out of the library.

BUILD   ?= build
PREFIX  ?= /usr/local
CC      ?= cc
PYTHON  ?= python3
PROVE   ?= prove
FUZZ_SECONDS ?= 10
# Tests at once. Many of them wait, for time-outs and disks, so that there is one more than processors.
TEST_JOBS ?= $(shell echo $$(($$(nproc) + 1)))
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

VERSION := 0.1

# Where xterm.js is put, for the page with a terminal.
XTERM := $(BUILD)/xterm

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $(patsubst $(BUILD)/%,%,$(2)))

PKGS := fuse3 libcurl libmicrohttpd sqlite3 liblz4 libzstd libcrypto libb2 libseccomp ext2fs com_err
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
OPTIMIZE ?= -O2 -g
HARDEN   ?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
LINK_HARDEN ?= -pie -Wl,-z,relro,-z,now
ALL_CFLAGS := -std=c17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -DRONDO_VERSION='"$(VERSION)"' \
              -DRONDO_XTERM='"$(XTERM)"' -I. $(WARNINGS) $(OPTIMIZE) $(HARDEN) $(PKG_CFLAGS) -pthread $(CFLAGS)

LIBS_crypto := $(shell pkg-config --libs libcrypto libb2 2>/dev/null)
LIBS_store  := $(shell pkg-config --libs libcurl liblz4 libzstd libseccomp 2>/dev/null) $(LIBS_crypto)
LIBS_fuse   := $(shell pkg-config --libs fuse3 2>/dev/null) $(LIBS_store)
LIBS_client := $(shell pkg-config --libs sqlite3 ext2fs com_err 2>/dev/null) $(LIBS_store)
LIBS_server := $(shell pkg-config --libs libmicrohttpd sqlite3 2>/dev/null) $(LIBS_crypto)
LIBS_vmm    := $(shell pkg-config --libs libseccomp 2>/dev/null) $(LIBS_crypto)
LIBS_all    := $(LIBS_fuse) $(LIBS_client) $(LIBS_server) $(LIBS_vmm)

FOLDERS := base blockstore catalog web fuse-cloop vmm server client
sources  = $(filter-out %_main.c,$(wildcard $(1)/*.c))
objects  = $(patsubst %.c,$(BUILD)/%.o,$(1))
library  = $(foreach f,$(1),$(BUILD)/$(f).a)

PROGRAMS := $(BUILD)/rondo $(BUILD)/rondo-cloop $(BUILD)/rondo-overlay $(BUILD)/rondo-server $(BUILD)/rondo-vmm

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
FUZZERS    := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all demo test test-long asan torture torture-program fuzz replay replay-programs coverage bench lint format install clean unit
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PROGRAMS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# These files become part of the programs as they stand (web/assets.h).
$(BUILD)/web/assets.o $(BUILD)/fuzz/obj/web/assets.o: web/style.css web/rondo.js web/icon.svg
$(BUILD)/web/try_assets.o $(BUILD)/fuzz/obj/web/try_assets.o: web/try.html web/try.js web/try.css $(XTERM)/xterm.js

# xterm.js, as web/package-lock.json names it, with its licence. Without npm, or what npm needs, there is a program
# without it, which says so when it is to show a terminal; `rm -r build/xterm` has the next make try again.
$(XTERM)/xterm.js: web/package.json web/package-lock.json
	@mkdir -p $(@D)
	$(call say,NPM,$@)
	$(Q)cp $^ $(@D)/
	$(Q)if (cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund) >$(@D)/npm.log 2>&1; then \
	  cd $(@D)/node_modules/@xterm/xterm && { echo '/*'; cat LICENSE; echo '*/'; cat lib/xterm.js; } >../../../xterm.js && \
	  cp css/xterm.css ../../../xterm.css; \
	else \
	  echo "make: no xterm.js ($(@D)/npm.log says why): rondo-server --try will not be there" >&2; \
	  : >$(@D)/xterm.css; : >$@; \
	fi

define LIBRARY
$(BUILD)/$(1).a: $(call objects,$(call sources,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)ar rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call LIBRARY,$(f))))

$(BUILD)/rondo: $(BUILD)/client/rondo_main.o $(call library,client web catalog blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_client)
$(BUILD)/rondo-cloop: $(BUILD)/fuse-cloop/cloop_main.o $(call library,fuse-cloop blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_fuse)
$(BUILD)/rondo-overlay: $(BUILD)/fuse-cloop/overlay_main.o $(call library,fuse-cloop blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_fuse)
$(BUILD)/rondo-server: $(BUILD)/server/server_main.o $(call library,server web catalog blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_server) $(LIBS_store)
$(BUILD)/rondo-vmm: $(BUILD)/vmm/vmm_main.o $(call library,vmm blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_vmm)

# A unit test may use every library; it sees the code through its public headers.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(call library,client server fuse-cloop vmm web catalog blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_all) -lcmocka

# base/ stands alone, and so do its tests.
$(BUILD)/tests/unit/test_base_%: $(BUILD)/tests/unit/test_base_%.o $(BUILD)/base.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_crypto) -lcmocka

# The slow link of tests and measurements.
RELAY := $(BUILD)/tests/bench/relay
$(RELAY): $(BUILD)/tests/bench/relay.o
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^

# A site of many images, for measuring searches.
MANY_IMAGES := $(BUILD)/tests/bench/many_images
$(MANY_IMAGES): $(BUILD)/tests/bench/many_images.o $(call library,catalog blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_client) -lm

# Two programs once more, with a ledger of what was verified before it got further.
LEDGER := $(BUILD)/tests/ledger/rondo $(BUILD)/tests/ledger/rondo-cloop
LEDGER_DOORS := chunk_decode LZ4_decompress_safe ZSTD_decompressDCtx fuse_reply_iov fuse_reply_buf renameat version_open \
                version_manifest_bytes sha256_of hash_stream_end cache_stream_finish
LINK_LEDGER = $(LINK_HARDEN) $(foreach d,$(LEDGER_DOORS),-Wl,--wrap=$(d)) $(LDFLAGS)
$(BUILD)/tests/ledger/rondo: $(BUILD)/client/rondo_main.o $(BUILD)/tests/hostile/ledger.o $(call library,client web catalog blockstore base)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_LEDGER) -o $@ $^ $(LIBS_client) $(LIBS_fuse)
$(BUILD)/tests/ledger/rondo-cloop: $(BUILD)/fuse-cloop/cloop_main.o $(BUILD)/tests/hostile/ledger.o $(BUILD)/client/hash_set.o \
                                   $(call library,fuse-cloop blockstore base)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_LEDGER) -o $@ $^ $(LIBS_fuse)

unit: $(UNIT_TESTS) $(RELAY) $(MANY_IMAGES) $(LEDGER)

# Torture (tests/torture/torture.h): the product with other names for the functions that fail there, in the build for
# the sanitizers. The list of names follows from the functions of calls.c.
TORTURE := $(BUILD)/tests/torture/torture
$(BUILD)/torture/renamed: $(BUILD)/tests/torture/calls.o
	@mkdir -p $(@D)
	$(Q)nm $< | awk '$$1 == "U" { used[$$2] } sub(/^torture_call_/, "", $$3) { calls[$$3] } \
	  END { for (c in calls) print (c "64" in used ? c "64" : c), "torture_call_" c }' >$@
	$(Q)echo main rondo_main >>$@
$(BUILD)/torture/%.a: $(BUILD)/%.a $(BUILD)/torture/renamed
	$(Q)objcopy --redefine-syms=$(BUILD)/torture/renamed $< $@
$(BUILD)/torture/rondo_main.o: $(BUILD)/client/rondo_main.o $(BUILD)/torture/renamed
	$(Q)objcopy --redefine-syms=$(BUILD)/torture/renamed $< $@
$(TORTURE): $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/torture/*.c)) $(BUILD)/torture/rondo_main.o \
            $(patsubst %,$(BUILD)/torture/%.a,client server fuse-cloop vmm web catalog blockstore base)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_all) -lcmocka

# Fuzz targets: clang's libFuzzer with both sanitizers; the whole source is compiled again for them.
FUZZ_CC     ?= clang
FUZZ_CFLAGS := -std=c17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314 -DRONDO_VERSION='"$(VERSION)"' \
               -DRONDO_XTERM='"$(XTERM)"' -I. -O1 -g $(PKG_CFLAGS) -pthread \
               -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(foreach f,base blockstore catalog web client server vmm,$(call sources,$(f))))

$(BUILD)/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/fuzz/rondo.a: $(FUZZ_OBJECTS)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/rondo.a
	$(call say,LINK,$@)
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_client) $(LIBS_vmm)

fuzz: $(FUZZERS)
	tests/fuzz/run --seconds $(FUZZ_SECONDS) $(BUILD)/fuzz

# Coverage: clang's counters in everything; a fuzz target then runs its corpus once, without sanitizers and mutations.
$(BUILD)/corpus/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(call library,client server fuse-cloop vmm web catalog blockstore base)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS_all)
coverage:
	tests/prerequisites build test
	@tests/coverage --programs >/dev/null
	$(MAKE) BUILD=$(BUILD)/coverage CC=$(FUZZ_CC) WARNINGS= OPTIMIZE="-O1 -g" HARDEN="-fprofile-instr-generate -fcoverage-mapping" \
	        LINK_HARDEN= $(addprefix $(BUILD)/coverage/,$(shell tests/coverage --programs))
	tests/coverage $(BUILD)/coverage

MAKE_ASAN = $(MAKE) BUILD=$(BUILD)/asan OPTIMIZE="-O1 -g" LINK_HARDEN= \
            HARDEN="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
asan: all
	+$(MAKE_ASAN) unit torture-program replay-programs
	BUILD=$(BUILD)/asan $(PROVE) -j$(TEST_JOBS) --exec tests/tap tests/torture/torture.sh $(patsubst $(BUILD)/%,$(BUILD)/asan/%,$(UNIT_TESTS))

# Each fuzz target once through its corpus, without libFuzzer, in the build for the sanitizers: nothing is compiled for it alone.
REPLAYS := $(patsubst tests/fuzz/%.c,$(BUILD)/replay/%,$(wildcard tests/fuzz/fuzz_*.c))
$(BUILD)/replay/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o \
                        $(call library,client server fuse-cloop vmm web catalog blockstore base)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@ $^ $(LIBS_all)
replay-programs: $(REPLAYS)
replay:
	+$(MAKE_ASAN) replay-programs

torture-program: $(TORTURE)
torture: all
	+$(MAKE_ASAN) torture-program
	RONDO_TEST_LONG=1 BUILD=$(BUILD)/asan tests/torture/torture.sh

demo:
	tests/prerequisites build run
	$(MAKE) all
	BUILD=$(BUILD) tests/demo

# Tests in the labs: machines with a working /dev/kvm, emulated (tests/lab/run_svm, tests/lab/run_vmx).
LAB_TESTS := $(filter-out %lib.sh %/common.sh,$(sort $(wildcard tests/lab/*.sh)))

# Two builds, on all processors, whatever make was told; the unit tests under the sanitizers; then everything, the longest first, so that
# nobody waits for one of them at the end. The runner, tests/tap, sets what a test needs and gives each one a time limit.
LONGEST := tests/e2e/appliances.sh tests/e2e/appliance_debian.sh tests/lab/product_login.sh \
           $(patsubst %,tests/e2e/%.sh,day run_tiny boot_debian network cloop_killed_during_boots debian_mounted snapshots)
SCRIPTS := $(filter-out %/browser.sh,$(sort $(wildcard tests/e2e/*.sh tests/hostile/*.sh tests/browser/*.sh)))
test:
	tests/prerequisites
	$(MAKE) $(PARALLEL) all unit
	$(MAKE) $(PARALLEL) asan
	BUILD=$(BUILD) $(PROVE) -j$(TEST_JOBS) --timer --exec tests/tap $(LONGEST) $(filter-out $(LONGEST),$(SCRIPTS) $(LAB_TESTS)) $(UNIT_TESTS) tests/fuzz/corpus.sh

test-long:
	tests/prerequisites lab
	RONDO_TEST_LONG=1 $(MAKE) test

bench:
	tests/prerequisites build run bench
	$(MAKE) all $(RELAY) $(MANY_IMAGES)
	BUILD=$(BUILD) tests/bench/run

FORMATTED := $(foreach f,$(FOLDERS) tests/unit tests/hostile tests/torture tests/fuzz tests/lab tests/bench,$(wildcard $(f)/*.c $(f)/*.h))
format:
	clang-format -i $(FORMATTED)
lint:
	clang-format --dry-run --Werror $(FORMATTED)
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -I. $(FOLDERS)
	clang-tidy --quiet $(filter %.c,$(FORMATTED)) -- $(ALL_CFLAGS)

UNITS := $(wildcard server/systemd/*.service server/systemd/*.socket server/systemd/*.timer)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/rondo $(DESTDIR)$(PREFIX)/share/man/man1 \
	        $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d
	install -m 755 $(BUILD)/rondo $(DESTDIR)$(PREFIX)/bin/rondo
	install -m 755 $(BUILD)/rondo-cloop $(BUILD)/rondo-overlay $(BUILD)/rondo-server $(BUILD)/rondo-vmm \
	        $(DESTDIR)$(PREFIX)/libexec/rondo/
	install -m 644 $(wildcard docs/man/*.1) $(DESTDIR)$(PREFIX)/share/man/man1/
	install -d $(DESTDIR)$(PREFIX)/share/applications
	sed 's#@PREFIX@#$(PREFIX)#g' client/rondo.desktop >$(DESTDIR)$(PREFIX)/share/applications/rondo.desktop
	chmod 644 $(DESTDIR)$(PREFIX)/share/applications/rondo.desktop
	if [ -z "$(DESTDIR)" ] && command -v update-desktop-database >/dev/null; then \
	  update-desktop-database $(PREFIX)/share/applications || exit 1; \
	fi
	install -m 644 client/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rondo
	for unit in $(notdir $(UNITS)); do \
	  sed 's#@PREFIX@#$(PREFIX)#g' server/systemd/$$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
	  chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
	done
	install -m 644 server/systemd/rondo-server.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/rondo-server.conf

clean:
	rm -rf $(BUILD)

# Not below images/: there are whole systems, some of them half made.
-include $(shell find $(BUILD) -path $(BUILD)/images -prune -o -type f -name '*.d' -print 2>/dev/null)

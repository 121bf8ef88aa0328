# The C library built for this machine, for tests and debugging; see docs/native.md. scripts/native_toolchain.py finds
# the clang.
#
# The same sources as the wasm builds but for wasm/runtime/host.c, which speaks to a wasm host. One folder a build:
#
#     simd, relaxed    shared libraries that Python's ctypes loads; relaxed fuses multiply-adds as relaxed SIMD does
#     m32              a host program of 32 bits: sizes overflow there as in wasm
#     asan, asan32     host programs with AddressSanitizer and UndefinedBehaviorSanitizer
#     tsan             ... with ThreadSanitizer
#
# and of `make fuzz` (target fuzz):
#
#     fuzz             libFuzzer on loading and running, with AddressSanitizer and UndefinedBehaviorSanitizer
#     coverage         the same program counting the lines it reaches
#
# simd and asan32 are like the wasm builds without relaxed SIMD; all others have fused multiply-adds and the kernels on
# bytes.

CLANG := $(firstword $(wildcard .cache/native/bin/clang) clang)
CLANGXX := $(CLANG)++
# Where the sources lie: the tests build a copy with a fault in it.
SOURCE_ROOT ?= .
OUT ?= build/native

SOURCES := $(patsubst $(SOURCE_ROOT)/%,%,$(filter-out %/host.c,$(wildcard $(SOURCE_ROOT)/wasm/*/*.c $(SOURCE_ROOT)/wasm/*/*.cc)))
LIBRARIES := simd relaxed
HOSTS := m32 asan asan32 tsan
FUZZERS := fuzz coverage
FLATC ?= $(or $(wildcard .cache/toolchain/bin/flatc),flatc)

# Older versions of clang do not unroll every loop that is to be unrolled. Here that only costs time.
WARNINGS := -Wall -Wextra -Werror -Wno-pass-failed
# -ffp-contract=off: multiply-adds are fused where the kernels say so and nowhere else.
COMMON := -g -fno-math-errno -ffp-contract=off -pthread -I$(SOURCE_ROOT)/wasm -I$(SOURCE_ROOT)/wasm/include \
	-Ithird_party/flatbuffers/include $(WARNINGS) -MMD -MP
CFLAGS := -std=gnu11
# As in scripts/wasm.mk.
CXXFLAGS := -std=c++17 -fno-exceptions -fno-rtti -fwrapv

simd := -O2 -DNDEBUG -msse4.1 -fPIC
relaxed := -O2 -DNDEBUG -mfma -fPIC
# Debian has the kernel's headers for 64 bits only, and for 32 bits they are the same.
bits32 := -m32 -idirafter /usr/include/x86_64-linux-gnu
m32 := -O2 -DNDEBUG -mfma $(bits32)
# Without NDEBUG, so that FlatBuffers asserts its indices too.
sanitized := -O1 -fno-omit-frame-pointer
asan := $(sanitized) -mfma -fsanitize=address,undefined -fno-sanitize-recover=all
asan32 := $(sanitized) -msse4.1 $(bits32) -fsanitize=address,undefined -fno-sanitize-recover=all
tsan := $(sanitized) -mfma -fsanitize=thread
# Any checksum will do, or no file that was changed would get past it.
unchecked := -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION=1
fuzz := $(sanitized) $(unchecked) -mfma -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
coverage := $(sanitized) $(unchecked) -mfma -DNDEBUG -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping
# With this check clang takes minutes for the one file, and there are no signed integers in it.
$(OUT)/asan/wasm/kernels/activation.c.o: asan += -fno-sanitize=signed-integer-overflow
$(OUT)/asan32/wasm/kernels/activation.c.o: asan32 += -fno-sanitize=signed-integer-overflow
$(OUT)/fuzz/wasm/kernels/activation.c.o: fuzz += -fno-sanitize=signed-integer-overflow

outputs := $(LIBRARIES:%=$(OUT)/libtulle-%.so) $(HOSTS:%=$(OUT)/tulle-host-%)

.PHONY: all
all: $(outputs)

.PHONY: fuzz
fuzz: $(FUZZERS:%=$(OUT)/tulle-%)

# The tables as C++ objects, which the mutator changes.
$(OUT)/schema/tulle_generated.h: wasm/format/tulle.fbs
	@mkdir -p $(@D)
	@$(FLATC) --cpp --gen-object-api -o $(@D) $<
$(FUZZERS:%=$(OUT)/%/tests/native/fuzz_mutator.cc.o): CXXFLAGS := -std=c++17 -I$(OUT)
# It is not what is tested.
$(OUT)/fuzz/tests/native/fuzz_mutator.cc.o: fuzz := -O1
$(OUT)/coverage/tests/native/fuzz_mutator.cc.o: coverage := -O1
$(FUZZERS:%=$(OUT)/%/tests/native/fuzz_mutator.cc.o): | $(OUT)/schema/tulle_generated.h

define build
$(OUT)/$1/%.c.o: $(SOURCE_ROOT)/%.c scripts/native.mk
	@mkdir -p $$(@D)
	@echo "  native $1 $$<"
	@$(CLANG) $(COMMON) $(CFLAGS) $$($1) -c $$< -o $$@
$(OUT)/$1/%.cc.o: $(SOURCE_ROOT)/%.cc scripts/native.mk
	@mkdir -p $$(@D)
	@echo "  native $1 $$<"
	@$(CLANGXX) $(COMMON) $$(CXXFLAGS) $$($1) -c $$< -o $$@
$(OUT)/libtulle-$1.so: $(SOURCES:%=$(OUT)/$1/%.o)
	@$(CLANGXX) $($1) -shared -pthread $$^ -o $$@
$(OUT)/tulle-$1: $(SOURCES:%=$(OUT)/$1/%.o) $(OUT)/$1/tests/native/fuzz_target.c.o $(OUT)/$1/tests/native/fuzz_mutator.cc.o
	@$(CLANGXX) $($1) -pthread $$^ -o $$@
$(OUT)/tulle-host-$1: $(SOURCES:%=$(OUT)/$1/%.o) $(OUT)/$1/tests/native/host.c.o
	@$(CLANGXX) $($1) -pthread $$^ -o $$@
-include $(SOURCES:%=$(OUT)/$1/%.d) $(wildcard $(OUT)/$1/tests/native/*.d)
endef
$(foreach v,$(LIBRARIES) $(HOSTS) $(FUZZERS),$(eval $(call build,$v)))

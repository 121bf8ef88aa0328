# The side modules that Pyodide loads: the C library on the heap of Pyodide's own wasm; see docs/pyodide.md.
# scripts/pyodide_wheels.py runs this.
#
# Nothing here depends on Python's ABI, so one pair serves every Pyodide of the last years.

ifeq ($(origin EMCC),undefined)
EMCC := $(firstword $(wildcard .cache/toolchain/bin/emcc) emcc)
endif
EMXX := $(patsubst %emcc,%em++,$(EMCC))

# What wasm/runtime/host.c does, Pyodide's main module does here: it owns the memory and runs constructors.
SOURCES := $(filter-out wasm/runtime/host.c,$(wildcard wasm/compose/*.c wasm/image/*.c wasm/kernels/*.c wasm/ops/*.c wasm/runtime/*.c wasm/runtime/*.cc))

WARNINGS := -Wall -Wextra -Werror
COMMON := -O3 -DNDEBUG -fPIC -DTULLE_SIDE_MODULE -msimd128 -mbulk-memory -fno-math-errno -fvisibility=hidden \
	-Iwasm -Iwasm/include -Ithird_party/flatbuffers/include $(WARNINGS) -MMD -MP
CFLAGS := -std=c11
CXXFLAGS := -std=c++17 -fno-exceptions -fno-rtti
LDFLAGS := -O3 -mbulk-memory -sSIDE_MODULE=2 -sWASM_BIGINT

relaxed := -mrelaxed-simd

# Pyodide compiles every .so of a wheel while installing it, and fails where the engine cannot: the relaxed build has
# another ending, and is loaded by hand where it can be.
OUT := build/pyodide
simd_out := $(OUT)/tulle-simd.so
relaxed_out := $(OUT)/tulle-relaxed.so.wasm

.PHONY: all
all: $(simd_out) $(relaxed_out)

define variant
$(OUT)/$1/%.c.o: %.c scripts/pyodide.mk
	@mkdir -p $$(@D)
	@echo "  pyodide $1 $$<"
	@$(EMCC) $(COMMON) $(CFLAGS) $($1) -c $$< -o $$@
$(OUT)/$1/%.cc.o: %.cc scripts/pyodide.mk
	@mkdir -p $$(@D)
	@echo "  pyodide $1 $$<"
	@$(EMXX) $(COMMON) $(CXXFLAGS) $($1) -c $$< -o $$@
$($1_out): $(SOURCES:%=$(OUT)/$1/%.o)
	@echo "  link $$@"
	@$(EMXX) $(LDFLAGS) $($1) $$^ -o $$@
-include $(SOURCES:%=$(OUT)/$1/%.d)
endef
$(foreach v,simd relaxed,$(eval $(call variant,$v)))

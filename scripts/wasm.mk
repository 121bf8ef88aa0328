# The wasm builds; see scripts/build_wasm.sh. Plain wasm without Emscripten's JavaScript: web/src/wasm.js and
# py/tulle/runtime are the whole host side.

ifeq ($(origin EMCC),undefined)
EMCC := $(firstword $(wildcard .cache/toolchain/bin/emcc) emcc)
endif
EMXX := $(patsubst %emcc,%em++,$(EMCC))

VARIANTS := simd relaxed simd-threads relaxed-threads
SOURCES := $(wildcard wasm/compose/*.c wasm/image/*.c wasm/kernels/*.c wasm/ops/*.c wasm/runtime/*.c wasm/runtime/*.cc)

WARNINGS := -Wall -Wextra -Werror
# -fno-math-errno lets roundf and floorf become single instructions; nothing here reads errno.
COMMON := -DNDEBUG -msimd128 -mbulk-memory -fno-math-errno -Iwasm -Iwasm/include -Ithird_party/flatbuffers/include $(WARNINGS) -MMD -MP
CFLAGS := -std=c11
LOOPS := $(patsubst %,wasm/compose/%.c,blur guide matte mix rows) $(patsubst %,wasm/runtime/%.c,constant engine integers)
# Kernels that are as fast without unrolling.
SMALL := $(patsubst %,wasm/kernels/%.c,elementwise pad pool reduce topk winograd)
# Only these loops are hot. The rest, most of it planning, is run once a load and is better small.
optimise = $(if $(filter-out $(SMALL),$(filter wasm/kernels/% wasm/image/% $(LOOPS),$1)),-O3,-Os)
# FlatBuffers' verifier adds offsets to pointers before it checks them. In 32 bits they wrap around, which is defined with
# -fwrapv.
CXXFLAGS := -std=c++17 -fno-exceptions -fno-rtti -fwrapv
# Linked as if for JavaScript, whose glue is thrown away: emcc links a bare .wasm with WASI, which has no shared memory.
# -O2, since from -O3 on it renames imports and exports for that glue.
LDFLAGS := -O2 -mbulk-memory --no-entry -sERROR_ON_UNDEFINED_SYMBOLS=0 -sWARN_ON_UNDEFINED_SYMBOLS=0 -sFILESYSTEM=0 -sSTACK_SIZE=262144 -sALLOW_MEMORY_GROWTH

relaxed := -mrelaxed-simd
threads := -matomics
# A shared memory must have the very limits that the page creates it with: they are read from there, in pages of 64 KiB.
shared_pages := $(shell sed -n 's/^const SHARED_MEMORY = { initial: \([0-9]*\), maximum: \([0-9]*\) };$$/\1 \2/p' web/src/wasm.js)
ifneq ($(words $(shared_pages)),2)
$(error web/src/wasm.js does not say the limits of the shared memory)
endif
bytes = $(shell echo $$(($1 * 65536)))
shared_limits := -sINITIAL_MEMORY=$(call bytes,$(word 1,$(shared_pages))) -sMAXIMUM_MEMORY=$(call bytes,$(word 2,$(shared_pages)))
threads_link := -sSHARED_MEMORY -sIMPORTED_MEMORY $(shared_limits) -Wl,--export=__stack_pointer
single_link := -sINITIAL_MEMORY=4194304 -sMAXIMUM_MEMORY=2147483648

flags = $(if $(findstring relaxed,$1),$(relaxed)) $(if $(findstring threads,$1),$(threads))

.PHONY: all
all: $(VARIANTS:%=web/dist/tulle-%.wasm) py/tulle/_wasm/tulle-simd.wasm py/tulle/_wasm/tulle-relaxed.wasm build/wasm/kernels.wasm

define variant
build/wasm/$1/%.c.o: %.c scripts/wasm.mk
	@mkdir -p $$(@D)
	@echo "  $1 $$<"
	@$(EMCC) $$(call optimise,$$<) $(COMMON) $(CFLAGS) $(call flags,$1) -c $$< -o $$@
build/wasm/$1/%.cc.o: %.cc scripts/wasm.mk
	@mkdir -p $$(@D)
	@echo "  $1 $$<"
	@$(EMXX) $$(call optimise,$$<) $(COMMON) $(CXXFLAGS) $(call flags,$1) -c $$< -o $$@
web/dist/tulle-$1.wasm: $(SOURCES:%=build/wasm/$1/%.o)
	@mkdir -p $$(@D)
	@echo "  link $$@"
	@$(EMXX) $(LDFLAGS) $(call flags,$1) $(if $(findstring threads,$1),$(threads_link),$(single_link)) $$^ -o build/wasm/$1/tulle.js
	@mv build/wasm/$1/tulle.wasm $$@
-include $(SOURCES:%=build/wasm/$1/%.d)
endef
$(foreach v,$(VARIANTS),$(eval $(call variant,$v)))

py/tulle/_wasm/%.wasm: web/dist/%.wasm
	@mkdir -p $(@D)
	@cp $< $@

# The kernels alone, every function exported, for what calls them without a model: tests/python/test_integer_kernels.py.
build/wasm/kernels.wasm: $(patsubst %,build/wasm/relaxed/%.o,$(filter wasm/kernels/% wasm/runtime/memory.c wasm/runtime/host.c,$(SOURCES)))
	@echo "  link $@"
	@$(EMXX) $(LDFLAGS) $(relaxed) $(single_link) -Wl,--export-all $^ -o build/wasm/kernels.js

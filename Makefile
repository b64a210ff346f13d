# What a person types. Everything that builds is CMake's; this file only names the usual journeys.
#
#   make build      set up (Debian 12: apt-get) and build build/hieron
#   make demo       a real merge, the audit that proves it, and an innocent model that is cleared
#   make test       every test; ends with ctest's count
#
#   make format     rewrite the sources with clang-format     make format-check    only look
#   make lint       clang-tidy                                 make sanitize        unit tests under ASan and UBSan
#   make clang      second compiler, warnings are errors       make fuzz            RUNS=20000 inputs a target
#   make bench      speed against the floor                    make clean

JOBS ?= $(shell nproc)
RUNS ?= 20000
CLANG_TARGETS ?= all
LINT_FOLDERS ?= core kernels io format hub model walk fit merge kinship edit assay report pack cli
SANITIZED ?= core kernels io format hub model fit merge kinship edit assay report pack

# ccache is a convenience: used where it is there when a build folder is configured.
ifneq ($(shell command -v ccache),)
export CMAKE_CXX_COMPILER_LAUNCHER = ccache
endif

# The tests' Python is Debian's, where setup puts NumPy and jsonschema; another one may come first in PATH.
CONFIGURE = cmake -Wno-dev -DPython3_EXECUTABLE=/usr/bin/python3 --preset

FUZZED ?= header index recipe hub
SOURCES = find hieron bench fuzz examples tests -name '*.cc' -o -name '*.h'
LINTED  = find $(LINT_FOLDERS:%=hieron/%) -name '*.cc' ! -name '*_test.cc'

.PHONY: build demo test format format-check lint sanitize clang fuzz bench clean setup setup-check

setup:
	@tools/setup.sh build

setup-check:
	@tools/setup.sh check

build: setup
	@$(CONFIGURE) release >/dev/null
	@cmake --build build -j $(JOBS)

demo: build
	@examples/demo.sh

test: build
	ctest --test-dir build --output-on-failure -j $(JOBS)

format: setup-check
	@$(SOURCES) | xargs clang-format-19 -i

format-check: setup-check
	@$(SOURCES) | xargs clang-format-19 --dry-run -Werror

lint: setup-check
	@$(CONFIGURE) release >/dev/null
	@$(LINTED) | sort | xargs -P $(JOBS) -n 1 clang-tidy-19 -p build --quiet --warnings-as-errors='*'

sanitize: setup-check
	@$(CONFIGURE) sanitize >/dev/null
	@cmake --build build-sanitize -j $(JOBS) --target $(SANITIZED:%=hieron_%_test)
	@for folder in $(SANITIZED); do UBSAN_OPTIONS=print_stacktrace=1 build-sanitize/hieron_$${folder}_test --gtest_brief=1 || exit 1; done

clang: setup-check
	@$(CONFIGURE) clang >/dev/null
	@cmake --build build-clang -j $(JOBS) --target $(CLANG_TARGETS)

fuzz: setup-check
	@$(CONFIGURE) clang >/dev/null
	@cmake --build build-clang -j $(JOBS) --target $(FUZZED:%=fuzz_%)
	@fuzz/run.sh $(RUNS) build-clang $(FUZZED)

bench: setup-check
	@$(CONFIGURE) bench >/dev/null
	@cmake --build build-bench -j $(JOBS)
	@for program in build-bench/bench/*_bench; do $$program || exit 1; done

clean:
	rm -rf build build-bench build-clang build-sanitize demo

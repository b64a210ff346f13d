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

# ccache is a convenience: used where it is there when a build folder is configured.
ifneq ($(shell command -v ccache),)
export CMAKE_CXX_COMPILER_LAUNCHER = ccache
endif

SOURCES = find hieron bench fuzz examples tests -name '*.cc' -o -name '*.h'
LINTED  = find hieron -name '*.cc' ! -name '*_test.cc'

.PHONY: build demo test format format-check lint sanitize clang fuzz bench clean setup setup-check

setup:
	@tools/setup.sh build

setup-check:
	@tools/setup.sh check

build: setup
	@cmake --preset release -Wno-dev >/dev/null
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
	@cmake --preset release -Wno-dev >/dev/null
	@$(LINTED) | sort | xargs -P $(JOBS) -n 1 clang-tidy-19 -p build --quiet --warnings-as-errors='*'

sanitize: setup-check
	@cmake --preset sanitize -Wno-dev >/dev/null
	@cmake --build build-sanitize -j $(JOBS)
	UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir build-sanitize --output-on-failure -j $(JOBS) -LE end-to-end

clang: setup-check
	@cmake --preset clang -Wno-dev >/dev/null
	@cmake --build build-clang -j $(JOBS)

fuzz: setup-check
	@cmake --preset clang -Wno-dev >/dev/null
	@tools/fuzz.sh build-clang $(RUNS) $(JOBS)

bench: setup-check
	@cmake --preset bench -Wno-dev >/dev/null
	@cmake --build build-bench -j $(JOBS)
	@bench/run.sh build-bench

clean:
	rm -rf build build-bench build-clang build-sanitize demo

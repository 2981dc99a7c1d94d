/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers the table of a C file with Google Benchmark; see bench.h. */
#include <benchmark/benchmark.h>

#include "bench.h"

namespace
{

/* Operations per call of run(): the call and the loop's bookkeeping vanish in it. */
constexpr int64_t batch = 1024;

struct {
	const struct bench_case *of;
	int64_t arg;
	void *ctx;
} kept;

void drop()
{
	if (kept.ctx != nullptr)
		kept.of->teardown(kept.ctx);
	kept = {};
}

void measure(benchmark::State &state, const struct bench_case *c)
{
	if (kept.of != c || kept.arg != state.range(0)) {
		drop();
		kept = {c, state.range(0), c->setup(state.range(0))};
	}
	if (kept.ctx == nullptr) {
		kept = {};
		state.SkipWithError("setup failed");
		return;
	}
	while (state.KeepRunningBatch(batch))
		c->run(kept.ctx, batch);
	state.SetItemsProcessed(state.iterations());
}

} // namespace

int main(int argc, char **argv)
{
	for (const struct bench_case *c = bench_cases; c->name != nullptr; c++) {
		auto *b = benchmark::RegisterBenchmark(
		    c->name, [c](benchmark::State &state) { measure(state, c); });

		for (const int64_t *a = c->args; *a != 0; a++)
			b->Arg(*a);
	}
	benchmark::Initialize(&argc, argv);
	if (benchmark::ReportUnrecognizedArguments(argc, argv))
		return 1;
	benchmark::RunSpecifiedBenchmarks();
	drop();
	benchmark::Shutdown();
	return 0;
}

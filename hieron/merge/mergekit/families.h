// The families of methods behind replay(): each returns the output's values, exact in
// returned_dtype(), or the reason why that version of mergekit does not.
//
// One source file a family. "r(...)" in their comments: rounded to the working dtype.
#pragma once

#include "hieron/core/error.h"
#include "hieron/merge/mergekit/replay.h"
#include "hieron/merge/mergekit/rounding.h"

namespace hieron::mergekit {

Result<Values> linear(const ReplayTask& task);
Result<Values> task_vectors(
    const ReplayTask& task);  // task_arithmetic, ties, dare, della, breadcrumbs
std::optional<std::string> refusal_of_task_vectors(const ReplayTask& task);
uint64_t words_of_task_vectors(std::string_view method, const TensorParameters& parameters,
                               std::optional<size_t> base, uint64_t elements);
Result<Values> slerp(const ReplayTask& task);
Result<Values> nuslerp(const ReplayTask& task);
Result<Values> multislerp(const ReplayTask& task);
Result<Values> karcher(const ReplayTask& task);
Result<Values> model_stock(const ReplayTask& task);
Result<Values> sce(const ReplayTask& task);
Result<Values> nearswap(const ReplayTask& task);
Result<Values> arcee_fusion(const ReplayTask& task);
uint64_t words_of_arcee_fusion(Version version, uint64_t elements);
Result<Values> ram(const ReplayTask& task);
Result<Values> ramplus_tl(const ReplayTask& task);
Result<Values> passthrough(const ReplayTask& task);

// What several families need of a task.
double global_of(const ReplayTask& task, std::string_view name, double otherwise);
double model_of(const ReplayTask& task, size_t operand, std::string_view name, double otherwise);
std::vector<size_t> operands_but_base(const ReplayTask& task);
Values values_of(const ReplayTask& task, size_t operand);
Values delta(const ReplayTask& task, size_t operand);  // r(x − base)

// "mergekit VERSION METHOD refuses tensor …: reason".
std::unexpected<Error> refused(const ReplayTask& task, std::string_view reason);

}  // namespace hieron::mergekit

// What only a run on a device can know to be wrong (an index out of range), without waiting for the run.
//
//   run      a plan with operations that may fail; its cells (kernels/cuda/native_cuda.h) are copied to page-locked memory
//            behind its last step, and an event says when they are there
//   suspect  a buffer that such a run wrote, or that was computed from one: it carries the run's number until the run is
//            known to be good. Where it depends on several, they get a number of their own
//
// An error is raised once by whoever looks next: what waits for a device, or an evaluation on one that finds the event done.
// A suspect of a failed run raises it whenever it is read, exported or computed with. With the GIL, but for watch_errors.
#pragma once
#include <vector>

#include "exec/plan.h"
#include "graph/value.h"

namespace pd {

// Behind the steps of a plan whose cells are at `cells` on its device. Returns the number of the run.
uint64_t watch_errors(const Plan& plan, const int64_t* cells);
// The lines that recorded its operations, while the walk that the plan was made for still knows them.
void keep_lines(uint64_t run, const std::vector<Value*>& order);

// What the results of a run with these operands carry: `run`, 0 where it has no cells of its own, joined with theirs.
uint64_t suspect_of(const std::vector<Value*>& leaves, uint64_t run);
// Raises the error of a failed run that one of these operands carries.
void check_operands(const std::vector<Value*>& leaves);

// Raises an error that nobody was told yet; `wait`: of runs under way too.
void raise_late_errors(bool wait = false);
// Raises the error that `b` carries, else one that nobody was told yet. What wrote `b` is done; `wait`: is waited for.
void check_buffer(const Buffer* b, bool wait = false);

// Numbers that still mean something, for tests: runs under way, what depends on several, and failures.
int64_t late_error_count();

}  // namespace pd

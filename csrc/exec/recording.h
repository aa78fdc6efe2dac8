// A graph of placeholders with its plans, run any number of times: nothing is walked, hashed or recorded when it runs.
#pragma once
#include <memory>
#include <vector>

#include "graph/var.h"

namespace pd {

class Recording {
 public:
  // The results as functions of the placeholders and of cells (graph/placeholders.h). A result may be a placeholder itself, or
  // a value that is there. Fails where an operation can only be computed by its host, when it has values.
  Recording(const std::vector<ValueRef>& results, const std::vector<Value*>& params);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  bool reads(int param) const { return reads_[static_cast<size_t>(param)]; }
  // `args`: ready values for the placeholders that are read, `cells`: Python numbers. The results, ready.
  std::vector<ValueRef> run(const std::vector<ValueRef>& args, const std::vector<Var>& cells) const;

 private:
  struct Part;  // of one device
  std::vector<std::unique_ptr<Part>> parts_;
  std::vector<ValueRef> results_;
  struct Source {
    enum Kind { Computed, Param, Ready } kind;
    int part, at;
  };
  std::vector<Source> sources_;  // of the results
  std::vector<bool> reads_;
};

}  // namespace pd

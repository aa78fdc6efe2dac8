// The straight-line part of a kernel's text: values, memory, and the body of a stage's loop.
#pragma once
#include <string>
#include <unordered_map>
#include <vector>

#include "fuse/llvm_expr.h"
#include "fuse/stages.h"

namespace pd::ir {

inline void put_one(std::string& s, const char* t) { s += t; }
inline void put_one(std::string& s, const std::string& t) { s += t; }
inline void put_one(std::string& s, int t) { s += std::to_string(t); }
inline void put_one(std::string& s, int64_t t) { s += std::to_string(t); }
template <class... A> void put(std::string& s, const A&... a) { (put_one(s, a), ...); }

// What is computed once for a row (Rows) or for a strip of kLanes minors (Columns).
struct Scope {
  std::vector<std::string> red;            // text to be run before each stage
  std::vector<Val> value;                  // of each Red instruction
  std::vector<std::vector<Val>> hoisted;   // nodes of elementwise instructions that the loop leaves alone
  std::vector<int> base;                   // of each arg: its address at the row or strip, or -1
  std::string at;                          // name of r (Rows) or of the strip's first minor
  int mask = -1;
};

// One copy of a loop's body.
struct Body {
  std::string* out;
  Scope* scope;
  std::string at;                // name of the loop's index: c (Rows) or r (Columns)
  int mask = -1;
  std::vector<Val> value;
  std::vector<Val> acc;          // Rows: the accumulators of the stage's reductions, before and after
  std::vector<Val> nan;          // and a NaN that max or min met, so that the loop's chain is one instruction
  std::vector<int> lanes;        // Columns: their accumulator arrays
  std::string runs;              // how many runs of minors end before `at`, once it is computed
  std::vector<int>* row_offset = nullptr;  // Columns: r * rstride of each arg, or -1; shared by the copies

  std::vector<Val> carried() const {
    std::vector<Val> all = acc;
    for (const Val& x : nan)
      if (x.valid()) all.push_back(x);
    return all;
  }
};

class BodyEmitter {
 protected:
  BodyEmitter(const Program& prog, const std::string& fname);

  const Program& p_;
  std::string name_;
  Stages s_;
  int n_;
  bool rows_;
  Text t_;
  std::string entry_, uniform_;
  std::vector<Val> uni_;                        // values of Uniform instructions
  std::vector<int> step_;                       // Index args: lane * cs as a vector
  std::vector<std::vector<int>> index_;         // Index args: base, rs, cs
  std::unordered_map<int, int> splats_;         // scalar -> vector of it
  std::unordered_map<const ExprTree*, std::vector<char>> used_;
  std::vector<int> slots_;
  int labels_ = 0;

  // ---- names

  static std::string v(int id) { return "%v" + std::to_string(id); }
  int label() { return labels_++; }
  void begin(std::string& o, int l) { put(o, "L", l, ":\n"); }
  void jump(std::string& o, int l) { put(o, "  br label %L", l, "\n"); }
  void branch(std::string& o, const std::string& c, int yes, int no) {
    put(o, "  br i1 ", c, ", label %L", yes, ", label %L", no, "\n");
  }
  std::string block(int l) { return "%L" + std::to_string(l); }
  // %v = op i64 a, b
  template <class A, class B> std::string i64(std::string& o, const char* opcode, const A& a, const B& b) {
    int id = t_.fresh();
    put(o, "  %v", id, " = ", opcode, " i64 ", a, ", ", b, "\n");
    return v(id);
  }
  int gep(std::string& o, const char* type, const std::string& p, const std::string& at) {
    int id = t_.fresh();
    put(o, "  %v", id, " = getelementptr ", type, ", ptr ", p, ", i64 ", at, "\n");
    return id;
  }
  int alloca_array(const std::string& type, int64_t count) {
    int id = t_.fresh();
    put(entry_, "  %v", id, " = alloca [", count, " x ", type, "], align 64\n");
    return id;
  }
  static std::string type(DType t, bool vec) {
    std::string s;
    add_type(s, t, vec);
    return s;
  }
  ReduceKind reduce_kind(int i) const { return traits(p_.code[i].op).reduce; }
  DType reduce_type(int i) const { return p_.regs[p_.code[i].dst]; }
  std::string arg(int a) const { return "%p" + std::to_string(a); }
  std::string rstride(int a) const { return "%s" + std::to_string(a); }
  std::string gap(int a) const { return "%g" + std::to_string(a); }
  const char* elem_type(int a) const { return memory_type(p_.args[a].dtype); }

  // ---- values
  bool vec_place(int place) const { return place == kBody || (!rows_ && place >= kRed); }
  std::string& text(int place, Body* b, Scope* sc);
  // v as the operand of an operation on vectors or scalars. A splat stands where the scalar does.
  Val as(Val x, bool vec, Body* b, Scope* sc);
  int splat(std::string& o, const Val& x);
  static Val make(int id, DType t, bool vec, int place);
  Val value(int i, Body* b, Scope* sc);
  static std::string print_instr(int i) { return "instruction " + std::to_string(i); }
  const std::vector<char>& used(const ExprTree* t);
  // A conversion that the machine has an instruction for; not valid where it has none.
  Val convert_half(int i, Body* b, Scope* sc);
  // An Op instruction. Each node is computed at the highest of its operands' places, once.
  Val op(int i, Body* b, Scope* sc);

  // ---- memory. Bool is a byte.
  Val load(std::string& o, DType t, bool vec, const std::string& ptr, int mask, int place);
  void store(std::string& o, const Val& x, bool vec, const std::string& ptr, int mask);
  // kLanes lanes below `left`
  int mask_of(std::string& o, const std::string& left);

  // ---- the kernel's start
  void enter();
  // Each slot holds a row padded to kLanes, or the strip: spilling needs no mask.
  void enter_slots();
  Scope make_scope(const std::string& at, int mask);
  Body make_body(std::string* out, Scope* sc, const std::string& at, int mask);

  // ---- Red instructions
  std::string row_pointer(int a, Scope* sc);
  void red_instr(int i, int k, Scope* sc);

  // ---- bodies of loops
  // The address of element (r, c) of a Vec arg.
  std::string element(int a, Body& b);
  std::string major_offset(int a, Body& b);
  std::string slot_address(int k, Body& b);
  Val load_index(int a, Body& b);
  Val load_elem(int i, Body& b);
  void emit_body(const Stage& st, Body& b);
  // Rows: the accumulators are values that the loop carries.
  void accumulate(Body& b, int i, int nth, const Val& x);
  // Columns: they lie in memory, the major's one is found by r % kLanes.
  void accumulate_lane(Body& b, int i, int nth, const Val& x, std::string& lane);
  bool small(const Stage& st) const;
  static int in_count(const Instr& in) { return (in.a >= 0) + (in.b >= 0) + (in.c >= 0); }
};

}  // namespace pd::ir

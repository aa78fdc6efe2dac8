#include "fuse/llvm.h"

#include <algorithm>
#include <map>
#include <utility>

#include "fuse/llvm_body.h"

namespace pd {

namespace {

using namespace ir;

// Vectors that a repeated body takes at once.
constexpr int kWide = 4;

class Emitter : BodyEmitter {
 public:
  Emitter(const Program& p, const std::string& name) : BodyEmitter(p, name) {}

  std::string run(size_t* scratch) {
    *scratch = 0;
    for (DType t : s_.slots) *scratch += size_of(t);
    enter();
    if (rows_) rows();
    else columns();
    std::string out;
    out.reserve(entry_.size() + uniform_.size() + body_.size() + 4096);
    put(out, "define void @", name_, "(i64 %R, i64 %C, ptr %ptrs, ptr %rstrides, ptr %scratch) nounwind {\nentry:\n",
        entry_, uniform_, "  br label %start\nstart:\n", body_, "  ret void\n}\n", functions_);
    for (const std::string& d : t_.declares) put(out, d, "\n");
    return out;
  }

 private:
  std::string body_, functions_;
  std::map<std::pair<int, int>, std::string> combiners_;
  std::map<std::pair<int, int>, std::pair<int, int>> arrays_;  // (strip, reduction): lanes and blocks on the stack

  // So little in each stage that it pays to write it out more than once.
  bool few() const {
    bool all = s_.slots.empty();
    for (const Stage& st : s_.stages) all = all && small(st) && st.reduces.size() <= 2;
    return all;
  }

  // ---- loops

  // for (i = from; i < to; i += step) bodies(text, name of i). Comes from block `pred`, ends in a new one.
  template <class F>
  int loop(std::string& o, int pred, const std::string& from, const std::string& to, int step, F bodies) {
    int head = label(), next = label(), i = t_.fresh(), any = t_.fresh();
    put(o, "  %v", any, " = icmp slt i64 ", from, ", ", to, "\n");
    branch(o, v(any), head, next);
    begin(o, head);
    int more = t_.fresh(), after = t_.fresh();
    put(o, "  %v", i, " = phi i64 [ ", from, ", ", block(pred), " ], [ %v", after, ", ", block(head), " ]\n");
    bodies(o, v(i));
    put(o, "  %v", after, " = add i64 %v", i, ", ", step, "\n");
    put(o, "  %v", more, " = icmp slt i64 %v", after, ", ", to, "\n");
    branch(o, v(more), head, next);
    begin(o, next);
    return next;
  }

  // ---- reductions

  // void (ptr blocks, i64 n): combines n > 1 block results in adjacent pairs, level by level, in place.
  const std::string& combiner(int i) {
    DType t = reduce_type(i);
    ReduceKind kind = reduce_kind(i);
    auto [at, fresh] = combiners_.try_emplace({static_cast<int>(kind), static_cast<int>(t)});
    if (!fresh) return at->second;
    at->second = name_ + ".combine" + std::to_string(combiners_.size());
    bool vec = !rows_;
    std::string ty = type(t, vec), &o = functions_;
    put(o, "define internal void @", at->second, "(ptr %b, i64 %n) nounwind noinline {\n",
        "entry:\n  br label %level\nlevel:\n",
        "  %m = phi i64 [ %n, %entry ], [ %half, %carried ]\n  %pairs = lshr i64 %m, 1\n  %odd = and i64 %m, 1\n",
        "  br label %pair\npair:\n  %i = phi i64 [ 0, %level ], [ %i1, %pair ]\n  %j = shl i64 %i, 1\n",
        "  %pa = getelementptr ", ty, ", ptr %b, i64 %j\n  %pb = getelementptr ", ty, ", ptr %pa, i64 1\n");
    int x = t_.fresh(), y = t_.fresh();
    put(o, "  %v", x, " = load ", ty, ", ptr %pa\n  %v", y, " = load ", ty, ", ptr %pb\n");
    Val z = t_.combine(o, kind, make(x, t, vec, kBody), make(y, t, vec, kBody), vec);
    put(o, "  %pz = getelementptr ", ty, ", ptr %b, i64 %i\n  store ", ty, " %v", z.id, ", ptr %pz\n",
        "  %i1 = add i64 %i, 1\n  %again = icmp ult i64 %i1, %pairs\n  br i1 %again, label %pair, label %last\nlast:\n",
        "  %isodd = icmp ne i64 %odd, 0\n  br i1 %isodd, label %carry, label %carried\ncarry:\n  %e = sub i64 %m, 1\n",
        "  %pe = getelementptr ", ty, ", ptr %b, i64 %e\n  %w = load ", ty, ", ptr %pe\n  %pw = getelementptr ", ty,
        ", ptr %b, i64 %pairs\n  store ", ty, " %w, ptr %pw\n  br label %carried\ncarried:\n",
        "  %half = add i64 %pairs, %odd\n  %done = icmp ult i64 %half, 2\n  br i1 %done, label %exit, label %level\n",
        "exit:\n  ret void\n}\n");
    return at->second;
  }

  // The results of all blocks -> the stage's Red values. Comes from block `pred`; `count` blocks.
  void combine_blocks(std::string& o, const Stage& st, const std::string& count, const std::vector<int>& blocks,
                      Scope* sc) {
    int many = label(), got = label(), c = t_.fresh();
    put(o, "  %v", c, " = icmp ugt i64 ", count, ", 1\n");
    branch(o, v(c), many, got);
    begin(o, many);
    for (size_t j = 0; j < st.reduces.size(); ++j)
      put(o, "  call void @", combiner(st.reduces[j]), "(ptr %v", blocks[j], ", i64 ", count, ")\n");
    jump(o, got);
    begin(o, got);
    for (size_t j = 0; j < st.reduces.size(); ++j) {
      int i = st.reduces[j], id = t_.fresh();
      put(o, "  %v", id, " = load ", type(reduce_type(i), !rows_), ", ptr %v", blocks[j], "\n");
      sc->value[i] = make(id, reduce_type(i), !rows_, kRed + s_.stage_of[i]);
    }
  }

  // Opens the loop over blocks of the reduced index, of extent n: names of first, end and count so far.
  struct Blocks {
    int head, pred, first_id, count_id, next_id, count_next_id;
    std::string first, end, count;
  };
  Blocks open_blocks(std::string& o, int pred, const std::string& n) {
    Blocks b;
    b.pred = pred;
    b.head = label();
    b.first_id = t_.fresh(), b.count_id = t_.fresh(), b.next_id = t_.fresh(), b.count_next_id = t_.fresh();
    b.first = v(b.first_id), b.count = v(b.count_id);
    jump(o, b.head);
    // The latch is a block of its own, printed by close_blocks.
    begin(o, b.head);
    put(o, "  ", b.first, " = phi i64 [ 0, ", block(pred), " ], [ ", v(b.next_id), ", %B", b.head, " ]\n");
    put(o, "  ", b.count, " = phi i64 [ 0, ", block(pred), " ], [ ", v(b.count_next_id), ", %B", b.head, " ]\n");
    std::string limit = i64(o, "add", b.first, kBlock);
    int over = t_.fresh(), end = t_.fresh();
    put(o, "  %v", over, " = icmp slt i64 ", limit, ", ", n, "\n");
    put(o, "  %v", end, " = select i1 %v", over, ", i64 ", limit, ", i64 ", n, "\n");
    b.end = v(end);
    return b;
  }
  void close_blocks(std::string& o, const Blocks& b, const std::string& n) {
    int done = label(), more = t_.fresh();
    put(o, "  br label %B", b.head, "\nB", b.head, ":\n");
    put(o, "  ", v(b.next_id), " = add i64 ", b.first, ", ", kBlock, "\n");
    put(o, "  ", v(b.count_next_id), " = add i64 ", b.count, ", 1\n");
    put(o, "  %v", more, " = icmp slt i64 ", v(b.next_id), ", ", n, "\n");
    branch(o, v(more), b.head, done);
    begin(o, done);
  }

  // ---- Rows

  // Small bodies have a loop of their own for rows shorter than a vector: what the other loop does around them would take longer.
  void rows() {
    std::string& o = body_;
    const int before = label();
    jump(o, before);
    begin(o, before);
    if (!few()) {
      rows_loop(before, -1);
      return;
    }
    const int little = label(), more = label(), end = label(), any = t_.fresh();
    put(o, "  %v", any, " = icmp eq i64 %full, 0\n");
    branch(o, v(any), little, more);
    begin(o, little);
    rows_loop(little, mask_of(o, "%C"));
    jump(o, end);
    begin(o, more);
    rows_loop(more, -1);
    jump(o, end);
    begin(o, end);
  }

  // From block `before` on, ends in a new one. `mask`: of the elements, where a row has less than kLanes of them.
  void rows_loop(int before, int mask) {
    int head = label(), exit = label(), any = t_.fresh(), r = t_.fresh(), next = t_.fresh();
    std::string& o = body_;
    put(o, "  %v", any, " = icmp sgt i64 %R, 0\n");
    branch(o, v(any), head, exit);
    begin(o, head);
    int latch = label();
    put(o, "  %v", r, " = phi i64 [ 0, ", block(before), " ], [ %v", next, ", ", block(latch), " ]\n");
    Scope sc = make_scope(v(r), -1);
    std::vector<std::string> loops(s_.stages.size());
    for (size_t k = 0; k < s_.stages.size(); ++k) {
      for (int i : s_.stages[k].before) red_instr(i, static_cast<int>(k), &sc);
      if (k + 1 == s_.stages.size()) continue;
      if (mask < 0) rows_stage(loops[k], s_.stages[k], &sc);
      else short_rows_stage(loops[k], s_.stages[k], &sc, mask);
    }
    for (size_t k = 0; k < s_.stages.size(); ++k) put(o, sc.red[k], loops[k]);
    jump(o, latch);
    begin(o, latch);
    int more = t_.fresh();
    put(o, "  %v", next, " = add i64 %v", r, ", 1\n  %v", more, " = icmp slt i64 %v", next, ", %R\n");
    branch(o, v(more), head, exit);
    begin(o, exit);
  }

  void short_rows_stage(std::string& o, const Stage& st, Scope* sc, int mask) {
    Body b = make_body(&o, sc, "0", mask);
    for (int i : st.reduces) {
      b.acc.push_back(identity(reduce_kind(i), reduce_type(i)));
      b.nan.push_back(tracks_nan(i) ? constant(reduce_type(i), 0) : Val());
    }
    emit_body(st, b);
    for (size_t j = 0; j < st.reduces.size(); ++j) {
      Val x = fold_lanes(o, reduce_kind(st.reduces[j]), lanes_of(o, b, j));
      x.place = kRed + s_.stage_of[st.reduces[j]];
      sc->value[st.reduces[j]] = x;
    }
  }

  void rows_stage(std::string& o, const Stage& st, Scope* sc) {
    int start = label();
    jump(o, start);
    begin(o, start);
    if (!st.reduces.empty()) return rows_reduce(o, start, st, sc);
    auto copies = [&](int width) {
      return [&, width](std::string& out, const std::string& c) {
        for (int u = 0; u < width; ++u) {
          Body b = make_body(&out, sc, u ? i64(out, "add", c, u * kLanes) : c, -1);
          emit_body(st, b);
        }
      };
    };
    int at = start;
    std::string from = "0";
    if (small(st)) {
      std::string wide = i64(o, "and", "%C", -kWide * kLanes);
      at = loop(o, at, "0", wide, kWide * kLanes, copies(kWide));
      from = wide;
    }
    loop(o, at, from, "%full", kLanes, copies(1));
    int tail = label(), end = label(), left = t_.fresh();
    put(o, "  %v", left, " = icmp slt i64 %full, %C\n");
    branch(o, v(left), tail, end);
    begin(o, tail);
    Body b = make_body(&o, sc, "%full", mask_of(o, i64(o, "sub", "%C", "%full")));
    emit_body(st, b);
    jump(o, end);
    begin(o, end);
  }

  // for each block: lanes = identity; for c: lanes = lanes . x; tail under a mask; tree of lanes -> blocks
  void rows_reduce(std::string& o, int start, const Stage& st, Scope* sc) {
    std::vector<int> blocks;
    for (int i : st.reduces) blocks.push_back(alloca_array(type(reduce_type(i), false), kMaxBlocks));
    Blocks bl = open_blocks(o, start, "%C");
    std::string full = i64(o, "add", bl.first, i64(o, "and", i64(o, "sub", bl.end, bl.first), -kLanes));
    int head = label(), rest = label(), tail = label(), done = label();
    std::string any = v(t_.fresh());
    put(o, "  ", any, " = icmp slt i64 ", bl.first, ", ", full, "\n");
    branch(o, any, head, rest);

    begin(o, head);
    std::string loop_text;
    int c = t_.fresh(), after = t_.fresh(), more = t_.fresh();
    Body b = make_body(&loop_text, sc, v(c), -1);
    std::vector<Val> start_at = accumulators(st, b);
    std::vector<Val> in_loop = b.carried();
    emit_body(st, b);
    put(o, "  %v", c, " = phi i64 [ ", bl.first, ", ", block(bl.head), " ], [ %v", after, ", ", block(head), " ]\n");
    phis(o, in_loop, start_at, bl.head, b.carried(), head);
    put(o, loop_text, "  %v", after, " = add i64 %v", c, ", ", kLanes, "\n");
    put(o, "  %v", more, " = icmp slt i64 %v", after, ", ", full, "\n");
    branch(o, v(more), head, rest);

    begin(o, rest);
    Body m = make_body(&o, sc, full, -1);
    accumulators(st, m);
    std::vector<Val> untailed = m.carried();
    phis(o, untailed, start_at, bl.head, b.carried(), head);
    int left = t_.fresh();
    put(o, "  %v", left, " = icmp slt i64 ", full, ", ", bl.end, "\n");
    branch(o, v(left), tail, done);

    begin(o, tail);
    m.mask = mask_of(o, i64(o, "sub", bl.end, full));
    emit_body(st, m);
    jump(o, done);

    begin(o, done);
    Body last = make_body(&o, sc, "", -1);
    accumulators(st, last);
    phis(o, last.carried(), untailed, rest, m.carried(), tail);
    for (size_t j = 0; j < st.reduces.size(); ++j) {
      Val x = fold_lanes(o, reduce_kind(st.reduces[j]), lanes_of(o, last, j));
      std::string ty = type(x.type, false);
      int at = gep(o, ty.c_str(), v(blocks[j]), bl.count);
      put(o, "  store ", ty, " %v", x.id, ", ptr %v", at, "\n");
    }
    close_blocks(o, bl, "%C");
    combine_blocks(o, st, v(bl.count_next_id), blocks, sc);
  }

  bool tracks_nan(int i) const {
    return is_floating(reduce_type(i)) && (reduce_kind(i) == ReduceKind::Max || reduce_kind(i) == ReduceKind::Min);
  }
  // What the body's reduction j has in its lanes.
  Val lanes_of(std::string& o, const Body& b, size_t j) {
    if (!b.nan[j].valid()) return b.acc[j];
    Val nan = t_.compare(o, "fcmp uno", b.nan[j], b.nan[j], true);
    return t_.select(o, nan, b.nan[j], b.acc[j], true);
  }

  // Gives a body new names for what its stage's reductions carry; returns where these start.
  std::vector<Val> accumulators(const Stage& st, Body& b) {
    std::vector<Val> start, none;
    for (int i : st.reduces) {
      ReduceKind k = reduce_kind(i);
      DType t = reduce_type(i);
      b.acc.push_back(make(t_.fresh(), t, true, kBody));
      b.nan.push_back(tracks_nan(i) ? make(t_.fresh(), t, true, kBody) : Val());
      start.push_back(identity(k, t));
      if (tracks_nan(i)) none.push_back(constant(t, 0));
    }
    start.insert(start.end(), none.begin(), none.end());
    return start;
  }
  void phis(std::string& o, const std::vector<Val>& to, const std::vector<Val>& a, int from_a,
            const std::vector<Val>& b, int from_b) {
    for (size_t j = 0; j < to.size(); ++j) {
      put(o, "  %v", to[j].id, " = phi ", type(to[j].type, true), " [ ");
      add_val(o, a[j], true);
      put(o, ", ", block(from_a), " ], [ ");
      add_val(o, b[j], true);
      put(o, ", ", block(from_b), " ]\n");
    }
  }

  // Lanes l and l + n/2 combined, l + n/2 on the right, down to one.
  Val fold_lanes(std::string& o, ReduceKind k, Val x) {
    for (int n = kLanes; n > 2; n /= 2) {
      Val half[2];
      for (int h = 0; h < 2; ++h) {
        half[h] = make(t_.fresh(), x.type, true, kBody);
        put(o, "  %v", half[h].id, " = shufflevector <", n, " x ", scalar_type(x.type), "> %v", x.id, ", <", n, " x ",
            scalar_type(x.type), "> poison, <", n / 2, " x i32> <");
        for (int l = 0; l < n / 2; ++l) put(o, l ? ", i32 " : "i32 ", h * n / 2 + l);
        put(o, ">\n");
      }
      x = t_.combine(o, k, half[0], half[1], true, n / 2);
    }
    Val two[2];
    for (int h = 0; h < 2; ++h) {
      two[h] = make(t_.fresh(), x.type, false, kBody);
      put(o, "  %v", two[h].id, " = extractelement <2 x ", scalar_type(x.type), "> %v", x.id, ", i64 ", h, "\n");
    }
    return t_.combine(o, k, two[0], two[1], false);
  }

  // ---- Columns

  void columns() {
    std::string& o = body_;
    int at = label();
    jump(o, at);
    begin(o, at);
    std::string from = "0";
    if (few()) {
      std::string wide = i64(o, "and", "%C", -kWide * kLanes);
      at = strips(o, at, from, wide, kWide, false);
      from = wide;
    }
    at = strips(o, at, from, "%full", 1, false);
    strips(o, at, "%full", "%C", 1, true);
  }

  // for (c = from; c < to; c += width kLanes): the stages over strips at c, c + kLanes, …
  int strips(std::string& o, int pred, const std::string& from, const std::string& to, int width, bool masked) {
    int head = label(), latch = label(), exit = label(), any = t_.fresh(), c = t_.fresh(), next = t_.fresh();
    put(o, "  %v", any, " = icmp slt i64 ", from, ", ", to, "\n");
    branch(o, v(any), head, exit);
    begin(o, head);
    put(o, "  %v", c, " = phi i64 [ ", from, ", ", block(pred), " ], [ %v", next, ", ", block(latch), " ]\n");
    std::vector<Scope> scopes;
    for (int u = 0; u < width; ++u) {
      int mask = masked ? mask_of(o, i64(o, "sub", to, v(c))) : -1;
      scopes.push_back(make_scope(u ? i64(o, "add", v(c), u * kLanes) : v(c), mask));
    }
    std::vector<std::string> loops(s_.stages.size());
    for (size_t k = 0; k < s_.stages.size(); ++k) {
      for (Scope& sc : scopes)
        for (int i : s_.stages[k].before) red_instr(i, static_cast<int>(k), &sc);
      if (k + 1 < s_.stages.size()) columns_stage(loops[k], s_.stages[k], scopes);
    }
    for (size_t k = 0; k < s_.stages.size(); ++k) {
      for (Scope& sc : scopes) put(o, sc.red[k]);
      put(o, loops[k]);
    }
    jump(o, latch);
    begin(o, latch);
    int more = t_.fresh();
    put(o, "  %v", next, " = add i64 %v", c, ", ", width * kLanes, "\n");
    put(o, "  %v", more, " = icmp slt i64 %v", next, ", ", to, "\n");
    branch(o, v(more), head, exit);
    begin(o, exit);
    return exit;
  }

  // for each block: kLanes accumulators = identity; for r: accumulator r % kLanes .= x; tree -> blocks
  void columns_stage(std::string& o, const Stage& st, std::vector<Scope>& scopes) {
    int start = label();
    jump(o, start);
    begin(o, start);
    std::vector<std::vector<int>> lanes(scopes.size()), blocks(scopes.size());
    for (size_t u = 0; u < scopes.size(); ++u)
      for (int i : st.reduces) {
        auto [at, fresh] = arrays_.try_emplace({static_cast<int>(u), i});
        std::string ty = type(reduce_type(i), true);
        if (fresh) at->second = {alloca_array(ty, kLanes), alloca_array(ty, kMaxBlocks)};
        lanes[u].push_back(at->second.first);
        blocks[u].push_back(at->second.second);
      }
    auto bodies = [&](std::string& out, const std::string& r) {
      std::vector<int> offsets(p_.args.size(), -1);
      for (size_t u = 0; u < scopes.size(); ++u) {
        Body b = make_body(&out, &scopes[u], r, scopes[u].mask);
        b.row_offset = &offsets;
        b.lanes = lanes[u];
        emit_body(st, b);
      }
    };
    if (st.reduces.empty()) {
      loop(o, start, "0", "%R", 1, bodies);
      return;
    }
    Blocks bl = open_blocks(o, start, "%R");
    for (size_t u = 0; u < scopes.size(); ++u)
      for (size_t j = 0; j < st.reduces.size(); ++j)
        for (int l = 0; l < kLanes; ++l) {
          std::string ty = type(reduce_type(st.reduces[j]), true);
          int at = gep(o, ty.c_str(), v(lanes[u][j]), std::to_string(l));
          put(o, "  store ", ty, " ");
          add_val(o, identity(reduce_kind(st.reduces[j]), reduce_type(st.reduces[j])), true);
          put(o, ", ptr %v", at, "\n");
        }
    loop(o, bl.head, bl.first, bl.end, 1, bodies);
    for (size_t u = 0; u < scopes.size(); ++u)
      for (size_t j = 0; j < st.reduces.size(); ++j) {
        DType t = reduce_type(st.reduces[j]);
        std::string ty = type(t, true);
        std::vector<Val> x;
        for (int l = 0; l < kLanes; ++l) {
          int at = gep(o, ty.c_str(), v(lanes[u][j]), std::to_string(l));
          x.push_back(make(t_.fresh(), t, true, kBody));
          put(o, "  %v", x.back().id, " = load ", ty, ", ptr %v", at, "\n");
        }
        for (int n = kLanes / 2; n; n /= 2)
          for (int l = 0; l < n; ++l) x[l] = t_.combine(o, reduce_kind(st.reduces[j]), x[l], x[l + n], true);
        int at = gep(o, ty.c_str(), v(blocks[u][j]), bl.count);
        put(o, "  store ", ty, " %v", x[0].id, ", ptr %v", at, "\n");
      }
    close_blocks(o, bl, "%R");
    for (size_t u = 0; u < scopes.size(); ++u) combine_blocks(o, st, v(bl.count_next_id), blocks[u], &scopes[u]);
  }
};

}  // namespace

std::string emit_llvm(const Program& p, const std::string& name, size_t* scratch_per_minor) {
  return Emitter(p, name).run(scratch_per_minor);
}

}  // namespace pd

// From a piece of graph to a plan.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <queue>

#include "base/bytes_text.h"
#include "base/debug.h"
#include "exec/fit.h"
#include "exec/narrow_products.h"
#include "exec/plan.h"
#include "exec/profile.h"
#include "exec/stats.h"
#include "fuse/repeats.h"
#include "kernels/cuda/product_tail.h"
#include "ops/loops.h"

namespace pd {

namespace {

bool reads_views(const PieceNode& n, int) { return may_read_views(n); }

// Places temporaries in one arena: in the order in which they are first used, each in the first gap that holds it.
class Arena {
 public:
  // alive in steps [from, to]; no earlier `from` than the call before
  int64_t place(int64_t bytes, int from, int to) {
    bytes = arena_bytes(bytes);
    while (!alive_.empty() && alive_.top().to < from) {
      release(alive_.top().offset, alive_.top().bytes);
      alive_.pop();
    }
    auto gap = std::find_if(gaps_.begin(), gaps_.end(), [&](const auto& g) { return g.second >= bytes; });
    if (gap == gaps_.end() && !gaps_.empty() && std::prev(gaps_.end())->first + std::prev(gaps_.end())->second == size_) {
      gap = std::prev(gaps_.end());  // what is missing comes behind it
      gap->second = bytes;
      size_ = gap->first + bytes;
    }
    int64_t at = size_;
    if (gap == gaps_.end()) {
      size_ += bytes;
    } else {
      at = gap->first;
      const int64_t rest = gap->second - bytes;
      gaps_.erase(gap);
      if (rest) gaps_[at + bytes] = rest;
    }
    alive_.push({to, at, bytes});
    return at;
  }
  int64_t size() const { return size_; }

 private:
  struct Block {
    int to;
    int64_t offset, bytes;
    bool operator<(const Block& o) const { return to > o.to; }  // the one that goes first on top
  };
  void release(int64_t offset, int64_t bytes) {
    auto next = gaps_.lower_bound(offset);
    if (next != gaps_.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = gaps_.erase(next);
    }
    if (next != gaps_.begin() && std::prev(next)->first + std::prev(next)->second == offset)
      std::prev(next)->second += bytes;
    else
      gaps_[offset] = bytes;
  }
  std::priority_queue<Block> alive_;
  std::map<int64_t, int64_t> gaps_;  // offset -> bytes
  int64_t size_ = 0;
};

}  // namespace

int64_t bytes_reached(const View& view, const Ints& dims, const PieceNode& base) {
  if (view.index) return 0;
  int64_t elements = 1;
  for (int k = 0; k < dims.size(); ++k) {
    if (view.strides[k] == 0) continue;
    const int64_t inside = view.bounded ? std::min(view.hi[k], dims[k]) - std::max<int64_t>(view.lo[k], 0) : dims[k];
    elements *= std::max<int64_t>(inside, 0);
  }
  return std::min(elements, numel(base.shape)) * static_cast<int64_t>(size_of(base.dtype));
}

namespace {

class Builder {
 public:
  Builder(DeviceId device, const Piece& p, const std::vector<int>& outputs, int leaves, const std::vector<DType>& numbers)
      : p_(p), outputs_(outputs), plan_(new Plan), cuda_(device.kind == DeviceKind::Cuda) {
    plan_->device = device;
    plan_->leaves = leaves;
    plan_->numbers = numbers;
    plan_->slots = leaves + static_cast<int>(numbers.size());
  }

  std::unique_ptr<Plan> run(const FuseOptions& options) {
    plan_->fused = options.fuse;
    plan_->memory_limit = options.memory_limit;
    part_ = partition(p_, options, reads_views);
    assign_slots();
    for (size_t g = 0; g < part_.groups.size(); ++g) {
      const Group& group = part_.groups[g];
      const size_t before = extra_temps_.size();
      if (group.kind == GroupKind::Fused) fused(static_cast<int>(g));
      else opaque(group.members[0]);
      scratch_.push_back(0);
      for (size_t k = before; k < extra_temps_.size(); ++k) scratch_.back() += arena_bytes(extra_temps_[k].second);
    }
    if (described_)
      for (size_t k = 0; k < plan_->steps.size(); ++k) plan_->steps[k].facts = std::move(facts_[k]);
    place_temporaries();
    plan_->peak = plan_->arena;
    for (const PieceNode& n : p_.nodes)
      if (n.kind == NodeKind::Leaf) plan_->peak += numel(n.shape) * static_cast<int64_t>(size_of(n.dtype));
    for (const Plan::Output& o : plan_->outputs)
      if (o.fresh) plan_->peak += o.bytes;
    plan_->unlimited = plan_->peak;
    return std::move(plan_);
  }

  // The kernels of a CUDA device, once the plan is made.
  void compile() const { cuda::build(launches_); }

  const Partition& partition_used() const { return part_; }
  const std::vector<int64_t>& scratch() const { return scratch_; }

 private:
  const PieceNode& node(int v) const { return p_.nodes[static_cast<size_t>(v)]; }

  // The node whose memory holds v's elements in v's order.
  int holder(int v) const {
    while (part_.alias[static_cast<size_t>(v)] >= 0 && !part_.stops[static_cast<size_t>(v)])
      v = part_.alias[static_cast<size_t>(v)];
    return v;
  }

  void assign_slots() {
    slot_.assign(p_.nodes.size(), -1);
    for (size_t v = 0; v < p_.nodes.size(); ++v) {
      const PieceNode& n = p_.nodes[v];
      if (n.kind == NodeKind::Leaf) slot_[v] = n.leaf;
      else if (n.kind == NodeKind::Number) slot_[v] = plan_->leaves + n.leaf;
      else if (n.kind == NodeKind::Opaque && !n.outs.empty()) continue;  // its parts have the memory
      else if (part_.stored[v] && part_.group_of[v] >= 0) slot_[v] = plan_->slots++;
      else if (n.kind == NodeKind::Opaque) slot_[v] = plan_->slots++;
    }
    std::vector<char> given(static_cast<size_t>(plan_->slots), 0);
    for (int v : outputs_) {
      int h = holder(v);
      int s = slot(h);
      bool fresh = s >= plan_->leaves && !given[static_cast<size_t>(s)];
      given[static_cast<size_t>(s)] = 1;
      plan_->outputs.push_back({s, bytes_of(h), fresh});  // the first rows of h may be an output too
    }
    is_output_ = given;
  }

  int64_t bytes_of(int v) const { return numel(node(v).shape) * static_cast<int64_t>(size_of(node(v).dtype)); }

  int slot(int v) const {
    int s = slot_[static_cast<size_t>(v)];
    if (s < 0) fail("plan", "a value has no memory", node(v).op ? traits(node(v).op).name : "leaf", "PYDIFF_FUSE=off", ErrorKind::Runtime);
    return s;
  }

  // An operand that a kernel of its own reads whole and in order.
  int contiguous_slot(int x) const {
    Source s = resolve(p_, x, part_.stops);
    if (numel(s.shape) && !is_identity(s.view, s.shape))
      fail("plan", "an operand does not lie in order", traits(node(x).op).name, "reporting this graph", ErrorKind::Runtime);
    return slot(holder(s.base));
  }

  static int64_t count(const Program& p) { return static_cast<int64_t>(p.code.size()); }

  FusedStep* new_fused(const Program& program) {
    auto step = std::make_unique<FusedStep>();
    if (!cuda_) {
      step->kernel = kernel_for(program);
      if (!step->kernel->interpreted) step->kernel->interpreted = std::make_unique<const Interpreted>(program);
    }
    step->instructions = count(program);
    new_step().fused = std::move(step);
    return plan_->steps.back().fused.get();
  }

  Step& new_step() {
    plan_->steps.emplace_back();
    if (described_ || facts_.empty()) facts_.push_back(std::make_shared<StepFacts>());
    else facts_.back()->members.clear();  // nobody will read them
    return plan_->steps.back();
  }

  // Of a new step, which runs one node. Bytes are the caller's to say.
  StepFacts& facts_of_new_step(const PieceNode& n) {
    new_step();
    StepFacts& f = *facts_.back();
    f.custom = n.custom;
    f.members.push_back({n.custom ? n.custom->name.c_str() : traits(n.op).name, n.origin, 1.0});
    f.domain = n.shape;
    f.dtype = n.dtype;
    return f;
  }

  // An operation's part of a fused step's work: what a reduction goes through is its operand.
  static StepFacts::Member member(const Piece& p, const PieceNode& n, int origin) {
    const OpTraits& t = traits(n.op);
    const int64_t elements = numel(t.family == Family::Reduce && n.in.size() ? p[n.in[0]].shape : n.shape);
    return {t.name, origin, static_cast<double>(std::max<int64_t>(elements, 1)) * std::max<int>(t.cost, 1)};
  }

  // The last step of the plan, which runs group g.
  void describe(int g, const Lowered& l) {
    if (!described_) return;
    StepFacts& f = *facts_.back();
    const Group& group = part_.groups[static_cast<size_t>(g)];
    for (int m : group.members) f.members.push_back(member(p_, node(m), node(m).origin));
    f.domain = group.dims;
    Ints dims = l.major_dims;
    for (int64_t d : l.minor_dims) dims.push_back(d);
    std::vector<std::pair<int, int64_t>> reads;  // a node that is read through several views is read once
    for (const Lowered::Operand& o : l.operands) {
      if (o.node < 0 || node(o.node).kind == NodeKind::Number) continue;
      const int64_t bytes = bytes_reached(o.view, dims, node(o.node));
      if (o.output) {
        f.written += bytes;
        f.dtype = node(o.node).dtype;
        continue;
      }
      auto met = std::find_if(reads.begin(), reads.end(), [&](auto& r) { return r.first == o.node; });
      if (met == reads.end()) reads.push_back({o.node, bytes});
      else met->second = std::min(met->second + bytes, bytes_of(o.node));
    }
    for (auto& r : reads) f.read += r.second;
  }

  void fused(int g) {
    Lowered l = lower(p_, part_, g);
    if (l.operands.empty()) return;  // all of it was computed elsewhere
    FusedStep* step = new_fused(l.program);
    describe(g, l);
    std::vector<View> views;
    FusedLaunch launch;
    views.reserve(l.operands.size());
    launch.slots.reserve(l.operands.size());
    for (Lowered::Operand& o : l.operands) {
      views.push_back(std::move(o.view));
      launch.slots.push_back(o.node < 0 ? -1 : slot(holder(o.node)));
    }
    step->elements = numel(l.major_dims) * numel(l.minor_dims);
    add_launch(step, std::move(launch), l.program, l.major_dims, l.minor_dims, views);
  }

  bool is_number(int slot) const {
    if (slot >= plan_->leaves && slot < plan_->leaves + static_cast<int>(plan_->numbers.size())) return true;
    for (const Plan::Constant& c : plan_->constants)
      if (c.slot == slot) return true;
    return false;
  }

  // The program over one domain; the launch's slots are known.
  void add_launch(FusedStep* step, FusedLaunch launch, const Program& program, const Ints& major, const Ints& minor,
                  const std::vector<View>& views) {
    if (!cuda_) {
      launch.launch = prepare(program, major, minor, views);
    } else {
      std::vector<char> numbers;
      for (int s : launch.slots) numbers.push_back(s >= 0 && is_number(s));
      launch.make = [device = plan_->device, program, major, minor, views, numbers](bool whole, bool far) {
        return cuda::prepare(device, program, major, minor, views, numbers, whole, far);
      };
      launch.cuda = std::make_unique<cuda::Launch>(launch.make(true, false));
      launches_.push_back(launch.cuda.get());
    }
    step->launches.push_back(std::move(launch));
  }

  void opaque(int v) {
    const PieceNode& n = node(v);
    if (n.op == kOutput) return;  // filled by the node that it is an output of
    if (n.body) return foreach_step(v);
    if (n.custom) return custom(v);
    if (traits(n.op).family == Family::Contraction) return matmul(v);
    auto step = std::make_unique<NativeStep>();
    step->op = n.op;
    step->origin = n.origin;
    if (cuda_) step->cuda_fn = cuda_native_for(n.op);
    else step->fn = native_for(n.op);
    if (cuda_ && traits(n.op).may_fail) step->error = plan_->errors++;
    if (!step->fn && !step->cuda_fn) fail(traits(n.op).name, "no kernel", name_of(n.dtype), "another op", ErrorKind::Runtime);
    for (int x : n.in) {
      step->specs.push_back(Spec{node(x).shape, node(x).dtype, {}});
      if (traits(n.op).reads_views) view_operand(x, *step);
      else step->in.push_back(cuda_ && node(x).kind == NodeKind::Number ? number_in_memory(x) : contiguous_slot(x));
    }
    step->out_spec = Spec{n.shape, n.dtype, {}};
    step->attrs = n.attrs;
    for (size_t k = 0; k < n.outs.size(); ++k) {
      const int part = part_of(v, static_cast<int>(k));
      step->outs.push_back(part < 0 ? -1 : slot(part));
    }
    if (n.outs.empty()) step->out = slot(v);
    StepFacts& f = facts_of_new_step(n);
    for (size_t k = 0; k < step->specs.size(); ++k) {
      const Spec& s = step->specs[k];
      // What is read by index is read where the result says, no more.
      const bool by_index = k == 0 && traits(n.op).may_fail;
      f.read += (by_index ? std::min(numel(s.shape), numel(n.shape)) : numel(s.shape)) * static_cast<int64_t>(size_of(s.dtype));
    }
    if (n.outs.empty()) f.written = bytes_of(v);
    for (size_t k = 0; k < n.outs.size(); ++k)
      if (step->outs[k] >= 0) f.written += numel(n.outs[k].shape) * static_cast<int64_t>(size_of(n.outs[k].dtype));
    plan_->steps.back().native = std::move(step);
  }

  // An operand of a kernel that reads strides.
  void view_operand(int x, NativeStep& step) {
    const Source s = resolve(p_, x, part_.stops);
    const bool lies = !s.view.bounded && !s.view.index && node(s.base).kind != NodeKind::Number;
    step.in.push_back(lies ? slot(holder(s.base)) : copied(x));
    step.offsets.push_back(lies ? s.view.offset : 0);
    step.strides.push_back(lies ? s.view.strides : contiguous_strides(node(x).shape));
  }

  void custom(int v) {
    const PieceNode& n = node(v);
    auto step = std::make_unique<CustomStep>();
    step->code = n.custom;
    step->origin = n.origin;
    for (int x : n.in)
      step->in.push_back(cuda_ && node(x).kind == NodeKind::Number ? number_in_memory(x) : contiguous_slot(x));
    for (size_t k = 0; k < n.outs.size(); ++k)
      step->out.push_back(part_slot(v, static_cast<int>(k), numel(n.outs[k].shape), n.outs[k].dtype));
    plan_->has_custom = true;
    StepFacts& f = facts_of_new_step(n);
    for (int x : n.in) f.read += bytes_of(x);
    for (const Spec& s : n.outs) f.written += numel(s.shape) * static_cast<int64_t>(size_of(s.dtype));
    plan_->steps.back().custom = std::move(step);
  }

  // Where strides do not serve, the operand is copied first: a fused kernel of one load and one store.
  int copied(int x) {
    Source s = resolve(p_, x, part_.stops);
    Program program;
    DType t = node(x).dtype;
    program.regs = {t};
    program.levels = {Level::Elem};
    program.args = {{t, ArgClass::Vec, false}, {t, ArgClass::Vec, true}};
    program.code = {{InstrKind::Load, Level::Elem, kLeaf, t, 0, 0, -1, -1},
                    {InstrKind::Store, Level::Elem, kLeaf, t, 1, 0, -1, -1}};
    FusedStep* step = new_fused(program);
    Ints major(s.shape.data(), s.shape.size() - 1), minor(s.shape.data() + s.shape.size() - 1, 1);
    FusedLaunch launch;
    step->elements = numel(s.shape);
    StepFacts& f = *facts_.back();
    f.members.push_back({"copy", node(x).origin, 1.0});
    f.domain = s.shape;
    f.dtype = t;
    f.read = bytes_reached(s.view, s.shape, node(s.base));
    f.written = numel(s.shape) * static_cast<int64_t>(size_of(t));
    int out = plan_->slots++;
    extra_temps_.push_back({out, numel(s.shape) * static_cast<int64_t>(size_of(t))});
    launch.slots = {slot(holder(s.base)), out};
    add_launch(step, std::move(launch), program, major, minor, {s.view, identity_view(s.shape)});
    return out;
  }

  // A number's cell is the host's: a kernel of its own gets it as a tensor of one element.
  int number_in_memory(int x) {
    const DType t = node(x).dtype;
    static const OpId cast = find_op("cast");
    Program program;
    program.regs = {t, t};
    program.levels = {Level::Uniform, Level::Elem};
    program.args = {{t, ArgClass::Uni, false}, {t, ArgClass::Vec, true}};
    program.code = {{InstrKind::Load, Level::Uniform, kLeaf, t, 0, 0, -1, -1},
                    {InstrKind::Op, Level::Elem, cast, t, 1, 0, -1, -1},
                    {InstrKind::Store, Level::Elem, kLeaf, t, 1, 1, -1, -1}};
    FusedStep* step = new_fused(program);
    step->elements = 1;
    facts_.back()->members.push_back({traits(cast).name, node(x).origin, 1.0});
    facts_.back()->written = static_cast<int64_t>(size_of(t));
    const int out = plan_->slots++;
    extra_temps_.push_back({out, static_cast<int64_t>(size_of(t))});
    FusedLaunch launch;
    launch.slots = {contiguous_slot(x), out};
    const View one = identity_view(Shape{1});
    add_launch(step, std::move(launch), program, {}, Ints{1}, {one, one});
    return out;
  }

  void matmul(int v) {
    const PieceNode& n = node(v);
    auto m = std::make_unique<MatmulStep>();
    const Shape &sa = node(n.in[0]).shape, &sb = node(n.in[1]).shape;
    int ra = sa.size(), rb = sb.size();
    m->type = node(n.in[0]).dtype;
    m->m = sa[ra - 2];
    m->k = sa[ra - 1];
    m->n = sb[rb - 1];
    const Source a = resolve(p_, n.in[0], part_.stops), b = resolve(p_, n.in[1], part_.stops);
    auto view = [&](const Source& s) { return s.view.bounded || node(s.base).kind == NodeKind::Number ? nullptr : &s.view; };
    const ProductOperands o = product_operands(sa, view(a), sb, view(b), cuda_ || m->type == DType::BF16);
    m->outer = o.outer;
    m->inner = o.inner;
    m->a = o.a;
    m->b = o.b;
    m->a.slot = o.copy_a ? copied(n.in[0]) : slot(holder(a.base));
    m->b.slot = o.copy_b ? copied(n.in[1]) : slot(holder(b.base));
    m->out = slot(v);
    if (has_tail(n)) tail(n, *m);
    StepFacts& f = facts_of_new_step(n);
    f.domain = m->batch() == 1 ? Shape{m->m, m->n, m->k} : Shape{m->batch(), m->m, m->n, m->k};
    f.flops = 2 * m->batch() * m->m * m->n * m->k;
    const int64_t item = static_cast<int64_t>(size_of(m->type));
    auto matrices = [&](const MatrixOperand& x) { return (x.outer ? m->outer : 1) * (x.inner ? m->inner : 1); };
    f.read = (matrices(m->a) * m->m * m->k + matrices(m->b) * m->k * m->n + (m->bias < 0 ? 0 : m->n)) * item;
    f.written = bytes_of(v);
    plan_->steps.back().matmul = std::move(m);
  }

  // What is done to the product of `n` (kernels/cuda/product_tail.h).
  void tail(const PieceNode& n, MatmulStep& m) {
    m.relu = has_relu(n);
    if (has_bias(n)) {
      const int x = n.in[2];
      const Source s = resolve(p_, x, part_.stops);
      const bool whole = !s.view.bounded && (m.n == 1 || s.view.strides[s.shape.size() - 1] == 1);
      m.obias = whole ? s.view.offset : 0;
      m.bias = whole ? slot(holder(s.base)) : copied(x);
    }
    const Piece alone = tail_alone(n);
    const Partition part = partition(alone, {}, reads_views);
    const Lowered l = lower(alone, part, 0);
    m.tail = std::make_unique<FusedLaunch>();
    std::vector<View> views;
    for (const Lowered::Operand& o : l.operands) {
      const PieceNode& x = alone[o.node];
      const bool bias = x.kind == NodeKind::Leaf && x.leaf == 1;
      views.push_back(o.view);
      if (bias) views.back().offset += m.obias;
      m.tail->slots.push_back(bias ? m.bias : m.out);
    }
    m.tail->make = [device = plan_->device, l, views](bool whole, bool far) {
      return cuda::prepare(device, l.program, l.major_dims, l.minor_dims, views, std::vector<char>(views.size(), 0), whole, far);
    };
  }

  // The body once as a loop program over a domain of one axis, then a launch a segment.
  void foreach_step(int v) {
    const PieceNode& n = node(v);
    int np = static_cast<int>(n.attrs[0]), segments = static_cast<int>(n.attrs[1]), shared = static_cast<int>(n.attrs[2]);
    const Graph& body = *n.body;
    int nr = static_cast<int>(body.results.size());
    Piece b;
    std::vector<Value*> roots, order;
    for (const ValueRef& r : body.results) roots.push_back(r.get());
    postorder(roots, [](const Value*) { return true; }, order);
    std::vector<std::pair<const Value*, int>> at;
    auto find = [&](const Value* x) {
      for (auto& [value, i] : at)
        if (value == x) return i;
      return -1;
    };
    const int64_t any_size = 1 << 20;  // the program does not depend on it
    for (int k = 0; k < np + shared; ++k) {
      PieceNode q;
      q.kind = k < np ? NodeKind::Leaf : NodeKind::Number;
      q.dtype = body.params[static_cast<size_t>(k)]->dtype;
      if (k < np) q.shape = {any_size};
      q.leaf = k < np ? k : k - np;
      at.push_back({body.params[static_cast<size_t>(k)].get(), k});
      b.nodes.push_back(q);
    }
    int constants = shared;
    std::vector<int> constant_slots;
    for (Value* x : order) {
      if (find(x) >= 0) continue;
      PieceNode q;
      q.op = x->op;
      q.dtype = x->dtype;
      q.attrs = x->ints();
      if (x->is_scalar()) {
        q.kind = NodeKind::Number;
        q.leaf = constants++;
        constant_slots.push_back(body_number(x));
      } else {
        // Over the segment even where its operands are numbers alone: of any other shape it would be a group of its own,
        // whose result has no memory here.
        q.kind = NodeKind::Fusible;
        for (int k = 0; k < x->nin; ++k) q.in.push_back(find(x->in(k)));
        q.shape = {any_size};
      }
      at.push_back({x, static_cast<int>(b.nodes.size())});
      b.nodes.push_back(q);
    }
    // Each result as a node of its own over the whole segment.
    std::vector<int> results;
    for (const ValueRef& r : body.results) {
      int i = find(r.get());
      bool own = b[i].kind == NodeKind::Fusible && b[i].shape.size() && !b[i].output;
      if (!own) {
        PieceNode q;
        static const OpId cast = find_op("cast");
        q.op = cast;
        q.kind = NodeKind::Fusible;
        q.dtype = b[i].dtype;
        q.shape = {any_size};
        q.attrs = {static_cast<int64_t>(q.dtype)};
        q.in = {i};
        b.nodes.push_back(q);
        i = static_cast<int>(b.nodes.size()) - 1;
      }
      b.nodes[static_cast<size_t>(i)].output = true;
      results.push_back(i);
    }
    FuseOptions all;
    all.max_members = 1 << 20;
    Partition bp = partition(b, all, reads_views);
    for (size_t g = 0; g < bp.groups.size(); ++g) {
      Lowered l = lower(b, bp, static_cast<int>(g));
      if (l.operands.empty()) continue;
      FusedStep* step = new_fused(l.program);
      StepFacts& f = *facts_.back();
      for (int k : bp.groups[g].members) f.members.push_back(member(b, b[k], n.origin));
      int64_t total = 0, largest = 0;
      for (int s = 0; s < segments; ++s) {
        int first = n.in[s * np];
        int64_t size = numel(node(first).shape);
        total += size;
        step->elements += size;
        largest = std::max(largest, size);
        FusedLaunch launch;
        std::vector<View> views;
        for (const Lowered::Operand& o : l.operands) {
          views.push_back(o.view);
          const PieceNode& q = b[o.node];
          if (q.kind != NodeKind::Number) (o.output ? f.written : f.read) += size * static_cast<int64_t>(size_of(q.dtype));
          if (q.kind == NodeKind::Leaf) launch.slots.push_back(contiguous_slot(n.in[s * np + q.leaf]));
          else if (q.kind == NodeKind::Number && q.leaf < shared)
            launch.slots.push_back(contiguous_slot(n.in[segments * np + q.leaf]));
          else if (q.kind == NodeKind::Number) launch.slots.push_back(constant_slots[static_cast<size_t>(q.leaf - shared)]);
          else {
            int r = static_cast<int>(std::find(results.begin(), results.end(), o.node) - results.begin());
            launch.slots.push_back(part_slot(v, s * nr + r, size, b[o.node].dtype));
          }
        }
        add_launch(step, std::move(launch), l.program, {}, {size}, views);
      }
      f.domain = {total};
      f.dtype = node(n.in[0]).dtype;
      step->parallel = segments > 1 && largest < 65536 && total > 32768;
    }
  }

  // A number inside a body becomes a number of the plan: its value is part of the structure there.
  int body_number(const Value* x) {
    plan_->constants.push_back({plan_->slots, number_bits(x)});
    return plan_->slots++;
  }

  // The node that is output `part` of a node of several; -1: nobody reads it.
  int part_of(int v, int part) const {
    for (size_t u = static_cast<size_t>(v) + 1; u < p_.nodes.size(); ++u) {
      const PieceNode& n = p_.nodes[u];
      if (n.kind == NodeKind::Opaque && n.op == kOutput && n.in[0] == v && n.part == part) return static_cast<int>(u);
    }
    return -1;
  }

  // The memory of output `part` of a node of several; one that nobody reads gets a temporary.
  int part_slot(int v, int part, int64_t size, DType t) {
    const int u = part_of(v, part);
    if (u >= 0) return slot(u);
    int s = plan_->slots++;
    extra_temps_.push_back({s, size * static_cast<int64_t>(size_of(t))});
    return s;
  }

  void uses(const Step& s, std::vector<int>& out) const {
    if (s.fused)
      for (const FusedLaunch& l : s.fused->launches) out.insert(out.end(), l.slots.begin(), l.slots.end());
    if (s.matmul) out.insert(out.end(), {s.matmul->a.slot, s.matmul->b.slot, s.matmul->bias, s.matmul->out});
    if (s.native) {
      out.insert(out.end(), s.native->in.begin(), s.native->in.end());
      out.push_back(s.native->out);
      out.insert(out.end(), s.native->outs.begin(), s.native->outs.end());
    }
    if (s.custom) {
      out.insert(out.end(), s.custom->in.begin(), s.custom->in.end());
      out.insert(out.end(), s.custom->out.begin(), s.custom->out.end());
    }
  }

  void place_temporaries() {
    size_t n = static_cast<size_t>(plan_->slots);
    std::vector<int> first(n, -1), last(n, -1);
    for (size_t k = 0; k < plan_->steps.size(); ++k) {
      std::vector<int> slots;
      uses(plan_->steps[k], slots);
      for (int s : slots) {
        if (s < 0) continue;
        if (first[static_cast<size_t>(s)] < 0) first[static_cast<size_t>(s)] = static_cast<int>(k);
        last[static_cast<size_t>(s)] = static_cast<int>(k);
      }
    }
    std::vector<int64_t> bytes(n, -1);
    int64_t largest = 0;
    for (size_t v = 0; v < p_.nodes.size(); ++v)
      if (slot_[v] >= plan_->leaves + static_cast<int>(plan_->numbers.size())) bytes[static_cast<size_t>(slot_[v])] = bytes_of(static_cast<int>(v));
    for (auto& [s, b] : extra_temps_) bytes[static_cast<size_t>(s)] = b;
    std::vector<size_t> order;
    for (size_t s = 0; s < n; ++s)
      if (bytes[s] >= 0 && first[s] >= 0 && !(s < is_output_.size() && is_output_[s])) order.push_back(s);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return first[a] != first[b] ? first[a] < first[b] : bytes[a] > bytes[b];
    });
    Arena arena;
    for (size_t s : order) {
      if (bytes[s] > largest) largest = bytes[s], plan_->arena_step = first[s];
      plan_->temps.push_back({static_cast<int>(s), arena.place(bytes[s], first[s], last[s])});
    }
    plan_->arena = arena.size();
  }

  const Piece& p_;
  std::vector<int> outputs_;
  std::unique_ptr<Plan> plan_;
  bool cuda_;
  std::vector<const cuda::Launch*> launches_;
  Partition part_;
  std::vector<int> slot_;
  std::vector<char> is_output_;
  std::vector<std::pair<int, int64_t>> extra_temps_;
  std::vector<int64_t> scratch_;  // group -> bytes of its extra temporaries
  const bool described_ = profile::on();
  std::vector<std::shared_ptr<StepFacts>> facts_;  // of each step
};

// A plan with what it was made of, which its builder refers to.
struct Made {
  std::unique_ptr<Piece> piece;
  std::unique_ptr<Builder> builder;
  std::unique_ptr<Plan> plan;
};

constexpr int kRounds = 12;
constexpr double kAims[] = {1.0, 0.8, 0.6, 1.25};  // of the limit: where one choice of segments gets stuck another may not

// The schedule says what to compute again; what the arena then takes, gaps and all, says whether that was enough.
template <class Make>
Made within_limit(Made first, const std::vector<int>& outputs, const FuseOptions& options, const Make& make) {
  const int64_t limit = options.memory_limit, unlimited = first.plan->peak, there = unlimited - first.plan->arena;
  int64_t least = unlimited;
  for (const double share : kAims) {
    Fitter fitter(*first.piece, first.builder->partition_used(), outputs, first.builder->scratch());
    fitter.reorder();
    int64_t target = limit - there;
    for (int round = 0; round < kRounds; ++round) {
      target = std::max<int64_t>(target, 0);
      const bool more = fitter.lower_to(target, static_cast<int64_t>(share * static_cast<double>(target)));
      std::vector<int> places = outputs;
      Piece piece = fitter.piece(places);
      Made now = make(std::move(piece), places);
      least = std::min(least, now.plan->peak);
      if (now.plan->peak <= limit) {
        now.plan->unlimited = unlimited;
        now.plan->recomputed = fitter.recomputed();
        return now;
      }
      if (!more) break;
      target = fitter.peak() - (now.plan->peak - limit);
    }
  }
  fail("memory_limit", "a plan does not fit",
       "a peak of " + bytes_text(least) + " at the least, " + bytes_text(least - limit) + " over the limit of " +
           bytes_text(limit),
       "a smaller batch, or pydiff.memory_limit(" + std::to_string(least) + ")", ErrorKind::Memory);
}

void tell(const std::vector<OpId>& merged) {
  std::string names;
  for (OpId op : merged) names += std::string(" ") + traits(op).name;
  std::fprintf(stderr, "pydiff: computed once in a plan:%s\n", names.c_str());
}

}  // namespace

std::string Plan::fit_text() const {
  return "plan of " + bytes_text(peak) + " for " + bytes_text(unlimited) + ", " + std::to_string(recomputed) +
         (recomputed == 1 ? " value" : " values") + " computed again";
}

bool may_read_views(const PieceNode& n) {
  const OpTraits& t = traits(n.op);
  return t.family == Family::Contraction || t.reads_views;
}

FuseOptions fuse_options() {
  FuseOptions o;
  const char* e = std::getenv("PYDIFF_FUSE");
  o.fuse = !(e && (std::strcmp(e, "off") == 0 || std::strcmp(e, "0") == 0));
  o.memory_limit = memory_limit();
  return o;
}

Piece rewritten(DeviceId device, Piece piece, std::vector<int>& outputs, const FuseOptions& options,
                std::vector<OpId>* merged) {
  if (!options.fuse) return piece;
  std::vector<OpId> repeats;
  Piece p = without_repeats(std::move(piece), outputs, repeats);
  if (merged) *merged = std::move(repeats);
  if (device.kind == DeviceKind::Cuda) return with_product_tails(p, outputs, product_tails());
  return with_narrow_operands(std::move(p), outputs);
}

int64_t number_bits(const Value* v) { return number_bits(v->dtype, v->num.f, v->num.i); }

std::unique_ptr<Plan> build_plan(DeviceId device, Piece piece, const std::vector<int>& outputs, int leaves,
                                 const std::vector<DType>& numbers, const FuseOptions& options, bool compile, Piece* used) {
  std::vector<int> places = outputs;
  std::vector<OpId> merged;
  auto make = [&](Piece p, const std::vector<int>& at) {
    Made m;
    m.piece = std::make_unique<Piece>(std::move(p));
    m.builder = std::make_unique<Builder>(device, *m.piece, at, leaves, numbers);
    m.plan = m.builder->run(options);
    return m;
  };
  Piece whole = rewritten(device, std::move(piece), places, options, &merged);
  Made m = make(std::move(whole), places);
  if (options.memory_limit && m.plan->peak > options.memory_limit) m = within_limit(std::move(m), places, options, make);
  if (compile) {  // and not only to look at it
    m.builder->compile();
    stats().merged += static_cast<int64_t>(merged.size());
    stats().recomputed += m.plan->recomputed;
    if (!merged.empty() && debug_level() >= 3) tell(merged);
    if (m.plan->limited() && debug_level() >= 1) std::fprintf(stderr, "pydiff: %s\n", m.plan->fit_text().c_str());
  }
  if (used) *used = std::move(*m.piece);
  return std::move(m.plan);
}

}  // namespace pd

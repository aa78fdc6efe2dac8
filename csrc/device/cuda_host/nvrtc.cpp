// NVRTC's functions: a program is compiled by the host's C++ compiler, behind host_header.h, into a shared library,
// whose bytes stand for the cubin. Programs compile in parallel when several threads ask.
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "host_header.h"
#include "internal.h"
#include "kernel_text.h"

extern char** environ;

namespace pd_host {

namespace {

enum : int {
  kOk = 0,
  kInvalidInput = 3,
  kInvalidProgram = 4,
  kInvalidOption = 5,
  kCompilation = 6,
  kNoLoweredName = 10,
  kNameNotValid = 9
};

struct Program {
  std::string text, name;
  std::vector<std::string> expressions;
  std::map<std::string, std::string> lowered;
  std::string log, image;
  bool compiled = false;
};

std::string read_file(const std::string& path) {
  std::string out;
  FILE* f = fopen(path.c_str(), "rbe");
  if (!f) return out;
  char buffer[65536];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) out.append(buffer, n);
  fclose(f);
  return out;
}

bool write_file(const std::string& path, const std::string& text) {
  FILE* f = fopen(path.c_str(), "wbe");
  if (!f) return false;
  bool good = fwrite(text.data(), 1, text.size(), f) == text.size();
  return fclose(f) == 0 && good;
}

const char* compiler() {
  const char* text = getenv("PYDIFF_CUDA_HOST_CXX");
  return text && *text ? text : "g++";
}

std::vector<std::string> base_flags() {
  static const std::vector<std::string> flags = [] {
    std::vector<std::string> f = {"-std=c++17",
                                  "-O1",
                                  "-fPIC",
                                  "-w",
                                  "-ffp-contract=off",
                                  "-fno-trapping-math",
                                  "-fno-math-errno",
                                  "-fwrapv",
                                  "-fno-strict-aliasing",
                                  "-fno-exceptions",
                                  "-fno-rtti",
                                  "-fno-asynchronous-unwind-tables",
                                  "-fno-stack-protector",
                                  "-fno-semantic-interposition",
                                  "-fvisibility=hidden"};
    std::string info = read_file("/proc/cpuinfo");
    std::string words = " " + info.substr(std::min(info.find("flags"), info.size()));
    for (auto& [word, flag] :
         {std::pair<const char*, const char*>{" sse4_1 ", "-msse4.1"}, {" avx2 ", "-mavx2"}, {" fma ", "-mfma"}})
      if (words.find(word) != std::string::npos) f.push_back(flag);
    return f;
  }();
  return flags;
}

// Runs a command without a shell; its messages go to the file `log`. False where it could not be started or failed.
bool run(const std::vector<std::string>& command, const std::string& log, std::string& why) {
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (char** e = environ; *e; e++)
    if (strncmp(*e, "LC_ALL=", 7) != 0) environment.push_back(*e);
  std::string locale = "LC_ALL=C";
  environment.push_back(&locale[0]);
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 2, 1);
  pid_t pid = 0;
  int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error) {
    why = "the host compiler '" + command[0] + "' could not be started: " + strerror(error) +
          "; set PYDIFF_CUDA_HOST_CXX\n";
    return false;
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return true;  // somebody else waits for all children; whether there is a result will tell
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string quoted(const std::string& s) {
  std::string out;
  for (char c : s)
    if (c != '"' && c != '\\' && c != '\n') out += c;
  return out;
}

std::string translate(Program& p, const std::string& macros, const std::vector<std::string>& kernels) {
  std::string out = "#define PD_HOST_ABI " + std::to_string(kAbi) + "u\n";
  out.append(kAbiText).append(kWordsText).append(kTogetherText).append(kMathText);
  out +=
      "\n" + macros + "#line 1 \"" + quoted(p.name) + "\"\n" + with_dynamic_shared(p.text) + "\n#line 1 \"<host>\"\n";
  for (auto& name : kernels) out += "PD_HOST_KERNEL(" + name + ", ::" + name + ");\n";
  for (size_t i = 0; i < p.expressions.size(); i++) {
    std::string e = p.expressions[i];
    if (!e.empty() && e[0] == '&') e = e.substr(1);
    std::string name = "pd_name_" + std::to_string(i);
    out += "PD_HOST_KERNEL(" + name + ", " + e + ");\n";
    p.lowered[p.expressions[i]] = name;
  }
  return out;
}

int compile(Program& p, const std::string& macros) {
  const char* root = getenv("TMPDIR");
  std::string folder = std::string(root && *root ? root : "/tmp") + "/pydiff-nvrtc-XXXXXX";
  if (!mkdtemp(&folder[0])) {
    p.log = "no temporary folder could be made: " + std::string(strerror(errno)) + "\n";
    return kCompilation;
  }
  const std::string source = folder + "/kernel.cpp", target = folder + "/kernel.so", log = folder + "/log";
  std::vector<std::string> command = {compiler()};
  for (auto& f : base_flags()) command.push_back(f);
  for (auto* f : {"-x", "c++"}) command.push_back(f);
  command.push_back(source);
  for (auto* f : {"-shared", "-nostdlib", "-Wl,-Bsymbolic", "-Wl,--as-needed", "-lm", "-o"}) command.push_back(f);
  command.push_back(target);
  if (strstr(compiler(), "clang") == nullptr) command.insert(command.begin() + 1, "-fno-gnu-unique");
  std::string why, text = p.text;
  if (needs_preprocessor(text) && write_file(source, "#define PD_HOST 1\n" + macros + text) &&
      run({compiler(), "-E", "-P", "-x", "c++", source, "-o", target}, log, why))
    text = read_file(target);
  bool good = write_file(source, translate(p, macros, kernel_names(text))) && run(command, log, why);
  p.log = why + read_file(log);
  p.image = good ? read_file(target) : "";
  for (auto& path : {source, target, log}) unlink(path.c_str());
  rmdir(folder.c_str());
  p.compiled = good && !p.image.empty();
  return p.compiled ? kOk : kCompilation;
}

// Macros become lines before the text, behind the header; what chooses an architecture or the arithmetic has no meaning
// here.
int read_options(int count, const char* const* options, std::string& lines) {
  for (int i = 0; i < count; i++) {
    std::string o = options[i];
    if (o.empty() || o[0] != '-') return kInvalidOption;
    for (const char* name : {"--define-macro", "--undefine-macro", "-D", "-U"}) {
      if (o.compare(0, strlen(name), name) != 0) continue;
      std::string value = o.substr(strlen(name));
      if (!value.empty() && value[0] == '=') value = value.substr(1);
      if (value.empty() && i + 1 < count) value = options[++i];
      size_t equals = value.find('=');
      if (name[1] == 'U' || name[2] == 'u') lines += "#undef " + value + "\n";
      else if (equals == std::string::npos) lines += "#define " + value + " 1\n";
      else lines += "#define " + value.substr(0, equals) + " " + value.substr(equals + 1) + "\n";
      break;
    }
  }
  return kOk;
}

}  // namespace

}  // namespace pd_host

using namespace pd_host;

// The number says that images are not NVRTC's, and which version of the stand-in made them.
PD_EXPORT int nvrtcVersion(int* major, int* minor) {
  if (!major || !minor) return kInvalidInput;
  *major = 13;
  *minor = 900 + int(kAbi);
  return kOk;
}

PD_EXPORT const char* nvrtcGetErrorString(int code) {
  switch (code) {
    case kOk: return "NVRTC_SUCCESS";
    case 1: return "NVRTC_ERROR_OUT_OF_MEMORY";
    case 2: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case kInvalidInput: return "NVRTC_ERROR_INVALID_INPUT";
    case kInvalidProgram: return "NVRTC_ERROR_INVALID_PROGRAM";
    case kInvalidOption: return "NVRTC_ERROR_INVALID_OPTION";
    case kCompilation: return "NVRTC_ERROR_COMPILATION";
    case 8: return "NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION";
    case kNameNotValid: return "NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION";
    case kNoLoweredName: return "NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID";
    default: return "NVRTC_ERROR unknown";
  }
}

PD_EXPORT int nvrtcCreateProgram(void** out, const char* text, const char* name, int headers, const char* const*,
                                 const char* const*) {
  if (!out || !text || headers < 0) return kInvalidInput;
  if (headers) {
    report("nvrtcCreateProgram: headers are not supported by the stand-in");
    return kInvalidInput;
  }
  auto* p = new Program;
  p->text = text;
  p->name = name && *name ? name : "default_program";
  *out = p;
  return kOk;
}

PD_EXPORT int nvrtcDestroyProgram(void** program) {
  if (!program || !*program) return kInvalidProgram;
  delete static_cast<Program*>(*program);
  *program = nullptr;
  return kOk;
}

PD_EXPORT int nvrtcAddNameExpression(void* program, const char* expression) {
  if (!program || !expression) return kInvalidInput;
  auto& p = *static_cast<Program*>(program);
  if (p.compiled) return 8;
  p.expressions.push_back(expression);
  return kOk;
}

PD_EXPORT int nvrtcCompileProgram(void* program, int count, const char* const* options) {
  if (!program) return kInvalidProgram;
  std::string macros;
  if (int e = read_options(count, options, macros)) return e;
  const char* refused = getenv("PYDIFF_CUDA_HOST_REFUSE");
  if (refused && *refused && static_cast<Program*>(program)->text.find(refused) != std::string::npos) {
    static_cast<Program*>(program)->log = "error: PYDIFF_CUDA_HOST_REFUSE names what this text contains";
    return kCompilation;
  }
  return compile(*static_cast<Program*>(program), macros);
}

PD_EXPORT int nvrtcGetLoweredName(void* program, const char* expression, const char** out) {
  if (!program || !expression || !out) return kInvalidInput;
  auto& p = *static_cast<Program*>(program);
  if (!p.compiled) return kNameNotValid;
  auto it = p.lowered.find(expression);
  if (it == p.lowered.end()) return kNoLoweredName;
  *out = it->second.c_str();
  return kOk;
}

PD_EXPORT int nvrtcGetProgramLogSize(void* program, size_t* out) {
  if (!program) return kInvalidProgram;
  if (!out) return kInvalidInput;
  *out = static_cast<Program*>(program)->log.size() + 1;
  return kOk;
}

PD_EXPORT int nvrtcGetProgramLog(void* program, char* out) {
  if (!program) return kInvalidProgram;
  if (!out) return kInvalidInput;
  auto& log = static_cast<Program*>(program)->log;
  memcpy(out, log.c_str(), log.size() + 1);
  return kOk;
}

PD_EXPORT int nvrtcGetCUBINSize(void* program, size_t* out) {
  if (!program) return kInvalidProgram;
  if (!out) return kInvalidInput;
  *out = static_cast<Program*>(program)->image.size();
  return kOk;
}

PD_EXPORT int nvrtcGetCUBIN(void* program, char* out) {
  if (!program) return kInvalidProgram;
  auto& image = static_cast<Program*>(program)->image;
  if (!out || image.empty()) return kInvalidInput;
  memcpy(out, image.data(), image.size());
  return kOk;
}

PD_EXPORT int nvrtcGetNumSupportedArchs(int* out) {
  if (!out) return kInvalidInput;
  *out = 4;
  return kOk;
}

PD_EXPORT int nvrtcGetSupportedArchs(int* out) {
  if (!out) return kInvalidInput;
  const int archs[] = {80, 90, 100, 120};
  memcpy(out, archs, sizeof archs);
  return kOk;
}

PD_ALIAS(nvrtcGetPTXSize, nvrtcGetCUBINSize);
PD_ALIAS(nvrtcGetPTX, nvrtcGetCUBIN);

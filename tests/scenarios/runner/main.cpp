/// Runs scenarios in one language of this program: runner plain|wrapped FILE...
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "scenario.hpp"

namespace {

/// What went wrong; empty if nothing did.
std::string run(const std::filesystem::path &path, const Start &start) {
    auto folder = std::filesystem::temp_directory_path() / ("libsfu-scenario-XXXXXX");
    std::string name = folder.string();
    if (mkdtemp(name.data()) == nullptr) {
        return "no folder " + name;
    }
    std::string text;
    try {
        std::ifstream stream(path);
        auto file = json::parse(stream, nullptr, true, true);
        Scenario(file, start, name).run();
    } catch (const std::exception &error) {
        text = error.what();
    }
    std::error_code ignored;
    std::filesystem::remove_all(name, ignored);
    return text;
}

}  // namespace

int main(int argc, char **argv) {
    std::string language = argc > 1 ? argv[1] : "";
    if (argc < 3 || (language != "plain" && language != "wrapped")) {
        std::fprintf(stderr, "runner plain|wrapped FILE...\n");
        return 2;
    }
    Start start = language == "plain" ? start_plain : start_wrapped;
    std::vector<std::filesystem::path> files(argv + 2, argv + argc);
    std::sort(files.begin(), files.end());
    int passed = 0, failed = 0;
    for (auto &file : files) {
        auto text = run(file, start);
        auto name = file.stem().string();
        std::printf("scenario %s, %s: %s\n", name.c_str(), language.c_str(), text.empty() ? "ok" : ("FAILED\n    " + text).c_str());
        std::fflush(stdout);
        (text.empty() ? passed : failed)++;
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

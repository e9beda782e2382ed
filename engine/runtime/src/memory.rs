//! Whether there is memory for more: what the process's control group allows, and what is in use of it.
//!
//! Told: where control groups are. Tells: an error for whoever wants to make something when nearly all is used. What there is goes
//! on; beyond the limit the kernel ends the process. The kernel's copies of files do not count: it gives them up. Limits: a part of
//! each limit is kept free, [`PART`], at least [`LEAST`] and at most [`MOST`]. Some small reads for each question, none in between, since
//! limits are changed while processes run. Left out: machines whose memory no group limits. cgroups(7), of both versions.

use std::path::{Path, PathBuf};

use sfu_core::command::{Command, CommandError, ErrorCode};

/// Where Linux has them.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";
/// What is kept free is this part of a limit,
const PART: u64 = 32;
/// at least so many bytes,
const LEAST: u64 = 8 << 20;
/// and at most so many: what a shard's queues and a burst of handshakes take.
const MOST: u64 = 256 << 20;

/// Names of the files of a version of control groups.
#[derive(Debug)]
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Of memory.stat: what the kernel gives up when it has to.
    files: [&'static str; 2],
}

const FIRST: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    files: ["total_inactive_file", "total_active_file"],
};
const SECOND: Names = Names { limit: "memory.max", used: "memory.current", files: ["inactive_file", "active_file"] };

/// The groups that this process is in.
#[derive(Debug, Default)]
pub(crate) struct MemoryLimit {
    groups: Vec<(PathBuf, &'static Names)>,
}

impl MemoryLimit {
    /// Those of this process; none where they cannot be read.
    pub(crate) fn of_process(root: &Path) -> Self {
        Self::new(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), root)
    }

    /// By what /proc/PID/cgroup says. In a container it may name folders that are not to be seen; the root is then the group.
    fn new(cgroup: &str, root: &Path) -> Self {
        let mut groups = Vec::new();
        for line in cgroup.lines() {
            let (folder, path, names) = match line.splitn(3, ':').collect::<Vec<_>>()[..] {
                [_, "", path] => (root.to_owned(), path, &SECOND),
                [_, controllers, path] if controllers.split(',').any(|one| one == "memory") => {
                    (root.join("memory"), path, &FIRST)
                }
                _ => continue,
            };
            let above = Path::new(path.trim_start_matches('/')).ancestors().map(|part| folder.join(part));
            groups.extend(above.filter(|group| group.join(names.limit).exists()).map(|group| (group, names)));
        }
        Self { groups }
    }

    /// Why nothing new can be made.
    pub(crate) fn refusal(&self) -> Option<CommandError> {
        self.groups.iter().find_map(|(group, names)| {
            let limit = number(&group.join(names.limit))?;
            let used = number(&group.join(names.used))?;
            let free = (limit / PART).clamp(LEAST, MOST);
            if used.saturating_add(free) <= limit || used.saturating_sub(given_up(group, names)) + free <= limit {
                return None;
            }
            let text = format!(
                "no memory: {} of the {} MiB that {} allows are in use, and what is there needs the rest; raise that limit, close \
                 something, or use another engine",
                used >> 20,
                limit >> 20,
                group.join(names.limit).display()
            );
            Some(CommandError::new(ErrorCode::ResourceExhausted, "", text))
        })
    }
}

/// The command makes something that takes memory for as long as it lives.
pub(crate) fn makes_something(command: &Command) -> bool {
    match command {
        Command::InBranch { command, .. } | Command::Across { command, .. } => makes_something(command),
        Command::CreateRouter
        | Command::CreateWebRtcServer
        | Command::CreateWebRtcTransport { .. }
        | Command::CreatePlainTransport { .. }
        | Command::CreatePipeTransport { .. }
        | Command::CreateDirectTransport { .. }
        | Command::CreateObserver { .. }
        | Command::Produce { .. }
        | Command::Consume { .. }
        | Command::StartTap { .. } => true,
        _ => false,
    }
}

/// Bytes; `None`: there is no limit, or no such file.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn given_up(group: &Path, names: &Names) -> u64 {
    let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let value = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        names.files.contains(&name).then(|| value.trim().parse::<u64>().ok())?
    };
    stat.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sfu-memory-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, file: &str, text: impl ToString) {
            let path = self.0.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.to_string()).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn row_091_what_a_group_allows_is_kept_whole_in_both_versions_and_the_groups_above_count() {
        for (cgroup, group, names) in [
            ("0::/pods/one\n", "pods/one", &SECOND),
            ("0::/\n", ".", &SECOND),
            ("4:memory:/pods/one\n1:cpu:/x\n0::/\n", "memory/pods/one", &FIRST),
            ("4:cpu,memory:/\n", "memory", &FIRST),
            // A container that does not see its host's folders.
            ("0::/not/to/be/seen\n", ".", &SECOND),
        ] {
            let folder = Folder::new("groups");
            let file = |name: &str| format!("{group}/{name}");
            folder.write(&file(names.limit), 512 * MIB);
            folder.write(&file(names.used), 400 * MIB);
            folder.write(&file("memory.stat"), "anon 7\n");
            let memory = MemoryLimit::new(cgroup, &folder.0);
            assert_eq!(memory.refusal(), None, "{cgroup}");
            folder.write(&file(names.used), 500 * MIB);
            let error = memory.refusal().unwrap();
            assert_eq!(error.code, ErrorCode::ResourceExhausted);
            assert!(error.text.contains("500 of the 512 MiB") && error.text.contains(names.limit), "{}", error.text);
            // Copies of files are given up when somebody needs the room.
            folder.write(&file("memory.stat"), format!("{} {}\n{} 1\n", names.files[0], 100 * MIB, names.files[1]));
            assert_eq!(memory.refusal(), None, "{cgroup}");
            folder.write(&file("memory.stat"), "");
            assert!(memory.refusal().is_some());
            // Whoever raises the limit need not start the engine again.
            folder.write(&file(names.limit), 1_024 * MIB);
            assert_eq!(memory.refusal(), None, "{cgroup}");
            folder.write(&file(names.limit), "max\n");
            assert_eq!(memory.refusal(), None, "{cgroup}");
        }
    }

    #[test]
    fn row_091_where_no_group_limits_memory_nothing_is_refused() {
        let folder = Folder::new("none");
        for cgroup in ["", "nonsense", "0::/\n", "4:memory:/x\n"] {
            assert_eq!(MemoryLimit::new(cgroup, &folder.0).refusal(), None);
        }
        folder.write("memory.max", "words");
        folder.write("memory.current", "1");
        assert_eq!(MemoryLimit::new("0::/\n", &folder.0).refusal(), None);
    }
}

//! A calendar clock that a test sets for one process.
//!
//! libfaketime does not go together with the allocator of Debian's Redis, which asks for the time before anything else
//! runs. This does the one thing that is needed here, without allocating: a library of a few lines, made by the compiler
//! that links the tests, adds the seconds in a file to what the kernel says.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A clock that differs from the machine's by so many seconds, which a test may change.
pub(crate) struct MovedClock {
    library: PathBuf,
    offset: PathBuf,
}

impl MovedClock {
    pub(crate) fn new(folder: &Path, seconds: i64) -> Self {
        let (source, library) = (folder.join("moved_clock.c"), folder.join("moved_clock.so"));
        std::fs::write(&source, SOURCE).unwrap();
        let made =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status().unwrap();
        assert!(made.success(), "the compiler that links the tests makes the clock");
        let clock = Self { library, offset: folder.join("offset") };
        clock.set(seconds);
        clock
    }

    /// Sets the clock to differ by so many seconds.
    pub(crate) fn set(&self, seconds: i64) {
        // In place, because the process has it mapped; eight bytes are written at once.
        use std::io::Write as _;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(&self.offset).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }

    /// What starts a process that lives by this clock.
    pub(crate) fn wrapper(&self) -> [String; 3] {
        let preload = format!("LD_PRELOAD={}", self.library.display());
        ["env".to_owned(), preload, format!("MOVED_CLOCK={}", self.offset.display())]
    }
}

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *seconds;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) seconds = page;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (seconds && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *seconds;
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"#;

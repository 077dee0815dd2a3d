//! Processes that must not outlive this one.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel end what the command starts when this process ends, however it does.
pub(crate) fn end_with_this_process(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

//! Programs loaded into the kernel, with real processes under them.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use super::*;
use crate::sys::filter;

const SIGSYS: i32 = 31;

fn run_under(program: &Program, command: &[&str]) -> Output {
    let mut child = Command::new(command[0]);
    child.args(&command[1..]).env("LC_ALL", "C");
    filter::under(&mut child, &program.filter, program.flags);
    child.output().unwrap()
}

/// What `command` prints under `program`, both streams.
fn said(program: &Program, command: &[&str]) -> String {
    let output = run_under(program, command);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap() + &format!("{}", output.status)
}

/// A profile that allows all but one call.
fn except(rule: &str) -> Program {
    compile(&profile(&format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{rule}]}}"#
    )))
    .unwrap()
}

/// Runs Python that has `call(number, args..)`, which gives the result or minus the errno.
fn python(program: &Program, script: &str) -> Option<String> {
    const CALL: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg) for arg in args])
    return -ctypes.get_errno() if result < 0 else result
";
    if Command::new("python3").arg("--version").output().is_err() {
        println!(
            "SKIP {}: no python3",
            std::thread::current().name().unwrap_or("?")
        );
        return None;
    }
    Some(said(
        program,
        &["python3", "-c", &format!("{CALL}{script}")],
    ))
}

fn number(name: &str) -> u32 {
    Machine::native().number(name).flatten().unwrap()
}

#[test]
fn a_refused_call_gives_its_errno() {
    let rule = r#"{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}"#;
    let text = said(&except(rule), &["mkdir", "/tmp/rkube-never-made"]);
    assert!(text.contains("No space left on device"), "{text}");
}

#[test]
fn kill_kills() {
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"] {
        let rule = format!(r#"{{"names":["mkdir","mkdirat"],"action":"{action}"}}"#);
        let output = run_under(&except(&rule), &["mkdir", "/tmp/rkube-never-made"]);
        assert_eq!(output.status.signal(), Some(SIGSYS), "{action}");
    }
}

#[test]
fn arguments_are_compared_in_the_kernel() {
    let program = except(
        r#"{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":77,
            "args":[{"index":0,"op":"SCMP_CMP_EQ","value":1}]},
           {"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":78,
            "args":[{"index":1,"op":"SCMP_CMP_GT","value":4294967296}]}"#,
    );
    let (socket, priority) = (number("socket"), number("getpriority"));
    let script = format!(
        "print(call({socket}, 1, 1, 0), call({socket}, 1 | 1 << 32, 1, 0), \
         call({socket}, 2, 1, 0) > 0, call({priority}, 0, 2 << 32), call({priority}, 0, 0) > 0)"
    );
    let Some(text) = python(&program, &script) else {
        return;
    };
    assert!(text.starts_with("-77 -77 True -78 True\n"), "{text}");
}

#[test]
fn int80_is_another_architecture() {
    if Machine::native() != Machine::X86_64 {
        println!("SKIP int80_is_another_architecture: x86_64 only");
        return;
    }
    // mov eax, 20 (getpid on i386); int 0x80; ret
    let script = "
import mmap, os
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex('b814000000cd80c3'))
getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
sys.stdout.write(str(getpid() == os.getpid()))
";
    let with = |arches: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":[{arches}],"syscalls":[
                {{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}}]}}"#
        );
        python(&compile(&profile(&json)).unwrap(), script)
    };
    let Some(listed) = with(r#""SCMP_ARCH_X86""#) else {
        return;
    };
    if !listed.starts_with("True") {
        println!("SKIP int80_is_another_architecture: no 32-bit calls here: {listed}");
        return;
    }
    let killed = with(r#""SCMP_ARCH_X86_64""#).unwrap();
    assert!(killed.contains("signal: 31"), "{killed}");
}

#[test]
fn programs_run_under_the_default_profile() {
    let profile = default_profile(&usual().into_iter().collect());
    let program = compile(&profile).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let script = format!(
        "set -e; cd {path}; echo hello > a; cp a b; mkdir d; mv b d/c; ln -s d/c l; cat l; \
         chmod 600 a; touch -t 200001010000 a; find . -type f | sort; tar cf t.tar a d; \
         mkfifo p; (echo piped > p &); cat p; date >/dev/null; id -u; sleep 0; rm -r d"
    );
    let want = "hello\n./a\n./d/c\npiped\n0\nexit status: 0";
    for shell in [
        &["sh", "-c", &script][..],
        &["busybox", "sh", "-c", &script],
    ] {
        if Command::new(shell[0]).arg("true").output().is_err() {
            println!(
                "SKIP programs_run_under_the_default_profile: no {}",
                shell[0]
            );
            continue;
        }
        let _ = std::fs::remove_dir_all(path);
        std::fs::create_dir(path).unwrap();
        assert_eq!(said(&program, shell), want, "{}", shell[0]);
    }
    let text = said(&program, &["apt-cache", "policy"]);
    assert!(text.ends_with("exit status: 0"), "{text}");
}

#[test]
fn threads_processes_and_sockets_work_under_the_default_profile() {
    let profile = default_profile(&HashSet::new());
    let program = compile(&profile).unwrap();
    let (unshare, clone3, mseal) = (number("unshare"), number("clone3"), number("mseal"));
    let script = format!(
        "
import threading, subprocess, socket, asyncio, tempfile, os
done = []
threads = [threading.Thread(target=done.append, args=(1,)) for _ in range(4)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b'x')
out = subprocess.run(['true']).returncode
asyncio.run(asyncio.sleep(0))
with tempfile.TemporaryFile() as file: file.write(b'x')
print(len(done), client.recv(1), out)
print(call({unshare}, 0x10000000), call({clone3}, 0, 0), call({mseal}, 1, 0, 0), call(5000))
for family in (38, 40):
    try: socket.socket(family, socket.SOCK_STREAM)
    except OSError as err: print(err.errno)
"
    );
    let Some(text) = python(&program, &script) else {
        return;
    };
    let want = [
        "4 b'x' 0\n-1 -38 -22 -38\n1\n1\nexit",
        "4 b'x' 0\n-1 -38 -38 -38\n1\n1\nexit",
    ];
    assert!(want.iter().any(|want| text.starts_with(want)), "{text}");
}

"""Programs of the benchmarks as processes of their own, and what else the machine did while they ran."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"
TIMEOUT = 300


class Failed(Exception):
    """A program did not do what it was asked for; the words are its last ones."""


@dataclass
class Done:
    """What a process printed, the most memory that it had, and the share of the cores that other programs took meanwhile."""

    output: str
    peak_mib: float
    others: float

    def json(self):
        return json.loads(self.output)


class Machine:
    """Where the programs are; peers are installed when they are first asked for."""

    def __init__(self, baton):
        self.baton = str(Path(baton).resolve())
        self.cache = None
        self.packages = {}

    def missing(self, package):
        """Why a package of install.sh is not to be had; nothing where it is."""
        if package not in self.packages:
            print(f"bench: {package} is installed, or found", file=sys.stderr)
            done = subprocess.run([PEERS / "install.sh", package], capture_output=True, text=True)
            if done.returncode == 0:
                self.cache = Path(done.stdout.split()[-1])
            self.packages[package] = f"not installed: {last_line(done.stderr)}" if done.returncode else None
        return self.packages[package]

    def command(self, program, arguments):
        if program in ("baton", "cargo"):
            return [self.baton if program == "baton" else program, *arguments]
        if program.endswith(".py"):
            return [str(self.cache / "venv/bin/python"), str(PEERS / program), *arguments]
        return [str(program if Path(program).is_absolute() else self.cache / program), *arguments]

    def run(self, program, arguments, environment=()):
        """The process to its end; fails with its last words where it fails."""
        variables = {**os.environ, "PYTHONWARNINGS": "ignore", "RUST_BACKTRACE": "0", **dict(environment)}
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            busy, begun = busy_seconds(), time.time()
            variables["BENCH_BEGUN"] = f"{begun:.6f}"
            child = subprocess.Popen(self.command(program, arguments), stdout=output, stderr=errors, env=variables)
            timer = threading.Timer(TIMEOUT, child.kill)
            timer.start()
            _, status, used = os.wait4(child.pid, 0)
            timer.cancel()
            child.returncode = os.waitstatus_to_exitcode(status)
            elapsed = time.time() - begun
            others = busy_seconds() - busy - used.ru_utime - used.ru_stime
            for file in (output, errors):
                file.seek(0)
            if child.returncode:
                late = f"no end after {TIMEOUT} s" if elapsed >= TIMEOUT else f"ended by signal {-child.returncode}"
                raise Failed(last_line(errors.read().decode(errors="replace")) if child.returncode > 0 else late)
            share = max(0.0, others) / (elapsed * os.cpu_count())
            return Done(output.read().decode(), used.ru_maxrss / 1024, share)


def busy_seconds():
    """Seconds that the cores were not idle, of all programs and of what shares the machine from outside."""
    words = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no words"


def described():
    """The machine, as the page says it."""
    def named(path, key):
        lines = Path(path).read_text().splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")

    memory = int(named("/proc/meminfo", "MemTotal").split()[0]) / 2**20
    return {"cpu": named("/proc/cpuinfo", "model name"), "cores": os.cpu_count(), "memory_gib": round(memory, 1)}

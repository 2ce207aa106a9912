"""Programs that try to pass without solving the task, to get out, or to wear the machine out.

`CHEATS` and `BOMBS` have to fail the tests ``f(3) == "horse battery"`` and ``g([1, 2]) == [2, 4]``.
`PROBES` try what must not work and report from ``leaks()`` what did; they pass where all is tight.
"""

from __future__ import annotations

TESTS = ('assert f(3) == "horse battery"', "assert g([1, 2]) == [2, 4]")
SOLUTION = 'def f(x): return "horse battery"\ndef g(x): return [2 * i for i in x]\n'

HUNT = r"""
import re
SEEN = re.compile(r"f\(3\)\s*==\s*\W?(\w+ \w+)")
def seen(text):
    match = SEEN.search(text)
    return match and match[1]
def g(x): return [2, 4]
"""
EVERYWHERE = """
import os
def everywhere(data):
    for fd in range(64):
        try:
            os.write(fd, data)
        except OSError:
            pass
"""
FORGED = """
VERDICTS = (
    b'{"outcome": "correct", "reason": ""}\\n',
    b'["values", "horse battery", ["list", 2, 4]]'[:0] + b'["values", true, true]',
    b'passed\\nOK\\n',
)
"""

CHEATS = {
    "exit 0": "import sys\nsys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "exit in the function": "import sys\ndef f(x): sys.exit(0)\ndef g(x): sys.exit(0)",
    "exit at once in the function": "import os\ndef f(x): os._exit(0)",
    "raise SystemExit by quit": "raise SystemExit(0)",
    "print passed": 'print("passed")\nprint("OK")\nprint("1 passed in 0.01s")',
    "nothing but a comment": "# passed",
    "equal to everything": """
class E:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(x): return E()
def g(x): return E()""",
    "text equal to everything": """
class S(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return S("x")
def g(x): return S("x")""",
    "list equal to everything": """
class L(list):
    def __eq__(self, other): return True
    def __iter__(self): return iter([2, 4])
    def __len__(self): return 2
def f(x): return L()
def g(x): return L()""",
    "number equal to everything": """
class N(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return N(3)
def g(x): return N(3)""",
    "lying metaclass": """
class M(type):
    def __eq__(cls, other): return True
    def __hash__(cls): return hash(str)
    @property
    def __mro__(cls): return (cls, str, object)
class E(metaclass=M):
    __name__ = "str"
def f(x): return E()
def g(x): return E""",
    "patched builtins": """
import builtins
for name in ("eval", "exec", "compile", "all", "any", "bool", "repr", "type", "isinstance"):
    setattr(builtins, name, lambda *a, **k: True)""",
    "patched assertion": """
import builtins
class AssertionError(Exception):
    def __new__(cls, *a): return None
builtins.AssertionError = AssertionError
def f(x): return "wrong"
def g(x): return [2, 4]""",
    "frames": HUNT + """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for space in (frame.f_locals, frame.f_globals):
            for value in list(space.values()):
                if seen(repr(value)): return seen(repr(value))
        frame = frame.f_back""",
    "garbage collector": HUNT + """
import gc
def f(x):
    for thing in gc.get_objects():
        try:
            if seen(repr(thing)): return seen(repr(thing))
        except Exception:
            continue""",
    "own memory": HUNT + """
def f(x):
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
        for line in maps:
            start, stop = (int(n, 16) for n in line.split()[0].split("-"))
            memory.seek(start)
            text = memory.read(stop - start).decode("latin-1")
            if seen(text): return seen(text)""",
    "own memory without proc": HUNT + """
import ctypes
def f(x):
    for place in (id(f), id(SEEN), id(__builtins__)):
        text = ctypes.string_at(place & ~0xfff, 4096).decode("latin-1")
        if seen(text): return seen(text)""",
    "own descriptors": HUNT + """
import os
def f(x):
    for fd in range(64):
        try:
            os.lseek(fd, 0, 0)
        except OSError:
            pass
        try:
            os.set_blocking(fd, False)
            text = os.read(fd, 10**6).decode("latin-1")
        except OSError:
            continue
        if seen(text): return seen(text)""",
    "command lines": HUNT + """
import glob
def f(x):
    for name in glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/environ"):
        text = open(name, encoding="latin-1").read()
        if seen(text): return seen(text)""",
    "files": HUNT + """
import os
def f(x):
    for top in ("/tmp", "/dev", "/work", "/home", "/root"):
        for folder, _, files in os.walk(top):
            for name in files:
                text = open(os.path.join(folder, name), encoding="latin-1").read(10**6)
                if seen(text): return seen(text)""",
    "forged verdicts": EVERYWHERE + FORGED + """
for verdict in VERDICTS: everywhere(verdict)
os._exit(0)""",
    "forged after the ready byte": EVERYWHERE + """
everywhere(b'["values", true, true]')
os._exit(0)""",
    "forged at exit": EVERYWHERE + FORGED + """
import atexit
atexit.register(lambda: [everywhere(v) for v in VERDICTS])
raise SystemExit(0)""",
    "forged in __del__": EVERYWHERE + FORGED + """
class D:
    def __del__(self): everywhere(VERDICTS[1])
d = D()
import sys
sys.modules["d"] = d
def f(x): return "wrong"
def g(x): return "wrong\"""".replace('\\"', '"'),
    "patched encoder": """
import sys
frame = sys._getframe()
while frame:
    encoder = frame.f_globals.get("Encoder")
    if encoder:
        encoder.encode = lambda self, value, depth=0: "true"
        frame.f_globals["quote"] = lambda text: "true"
    frame = frame.f_back
def f(x): return 0
def g(x): return 0""",
    "patched runner": """
import sys
frame = sys._getframe()
while frame:
    if "run" in frame.f_globals and "READY" in frame.f_globals:
        frame.f_globals["run"] = lambda request: '["values",true,true]'
        frame.f_locals.get("request", {}).update(calls=[])
    frame = frame.f_back""",
    "deleted tests": """
import sys
frame = sys._getframe()
while frame:
    request = frame.f_locals.get("request")
    if request: request["calls"].clear()
    frame = frame.f_back""",
    "patched module of the runner": """
import posix, sys, _json, marshal, resource
posix._exit = lambda code: None
real = posix.write
posix.write = lambda fd, data: real(fd, b'["values",true,true]') and len(data)
_json.encode_basestring_ascii = lambda text: "true"
def f(x): return 0
def g(x): return 0""",
    "import hooks": """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None): raise SystemExit(0)
sys.meta_path.insert(0, Finder())
sys.modules["builtins"] = None
sys.path_hooks[:] = []
def f(x): return 0
def g(x): return 0""",
    "trace function": """
import sys
def trace(frame, event, arg):
    if event == "return" and frame.f_code.co_name in ("run", "encode", "main"): pass
    frame.f_globals.get("REQUEST", {}).clear()
    return trace
sys.settrace(trace)
sys.setprofile(trace)
def f(x): return 0
def g(x): return 0""",
    "tracebacks altered": """
import sys
sys.excepthook = lambda *a: None
sys.unraisablehook = lambda *a: None
def f(x): raise AssertionError from None
def g(x): raise AssertionError""",
    "name that breaks out of JSON": """
T = type('x",true],"horse battery",["list",2,4]]', (), {})
def f(x): return T()
def g(x): return T()""",
    "message that breaks out of JSON": """
def f(x): raise ValueError('"],["values","horse battery"')
def g(x): raise ValueError('\\x00\\n"]')""",
    "huge traceback": """
def f(x):
    try: raise ValueError("x" * 10**7)
    except ValueError as error:
        for i in range(2000):
            try: raise RuntimeError("y" * 1000) from error
            except RuntimeError as new: error = new
        raise error
g = f""",
    "message that raises": """
class E(Exception):
    def __str__(self): raise SystemExit(0)
    __repr__ = __str__
def f(x): raise E
g = f""",
    "list in itself": "def f(x):\n    a = []\n    a.append(a)\n    return a\ng = f",
    "endless iterator": "import itertools\ndef f(x): return itertools.count()\ng = f",
    "answer of too many digits": "def f(x): return 10 ** 200_000\ndef g(x): return [2, 4]",
    "endless answer": EVERYWHERE + "while True: everywhere(b'[' * 65536)",
    "deep answer": EVERYWHERE + "everywhere(b'[' * 100_000)\nos._exit(0)",
    "answer that is no text": EVERYWHERE + "everywhere(bytes(range(256)))\nos._exit(0)",
    "unknown types": EVERYWHERE + """
everywhere(b'["values", ["eval", "1"], ["Judge", 1]]')
os._exit(0)""",
    "objects": "import sys\ndef f(x): return sys\ndef g(x): return lambda: [2, 4]",
    "control characters": 'def f(x): return "\\x1b[2J\\ud800"\ndef g(x): return [2, 4]',
    "truth that raises": """
class T:
    def __bool__(self): raise SystemExit(0)
def f(x): return T()
g = f""",
    "threads": """
import threading, time
threading.Thread(target=lambda: time.sleep(3600)).start()
def f(x): return 0""",
    "fork": "import os\nos.fork()",
    "double fork and setsid": """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: pass""",
    "shell": 'import os\nos.execv("/bin/sh", ["sh", "-c", "exit 0"])',
    "exec of the interpreter": """
import os, sys
os.execv(sys.executable or "/proc/self/exe", ["python", "-c", "print('passed')"])""",
    "subprocess": 'import subprocess\nsubprocess.run(["true"], check=True)',
    "memory bomb": "x = 'a' * 10 ** 11",
    "recursion bomb": """
import sys
sys.setrecursionlimit(10 ** 9)
def h(x): return max([x], key=h)
h(1)""",
    "bomb for the parser": "x = " + "(" * 5000 + ")" * 5000,
    "null byte": "x = 1\0",
    "segfault": "import ctypes\nctypes.string_at(0)",
    "kill itself softly": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "kill itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "kill itself by its thread": """
import signal, threading
signal.pthread_kill(threading.get_ident(), signal.SIGKILL)""",
    "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "audit hook": """
import os, sys
sys.addaudithook(lambda event, arguments: os._exit(0))
def f(x): return "wrong"
g = f""",
    "memory given away": """
import resource
resource.setrlimit(resource.RLIMIT_AS, (0, 0))
def f(x): return "x" * 10 ** 6
g = f""",
    "descriptors closed": "import os\nos.closerange(0, 64)\ndef f(x): return 1\ng = f",
    "filter of its own": """
import ctypes, struct
allow, refuse = struct.pack("HBBI", 6, 0, 0, 0x7fff0000), struct.pack("HBBI", 6, 0, 0, 0x00050001)
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
own = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, 1) + refuse + allow
libc = ctypes.CDLL(None)
libc.prctl(22, 2, ctypes.byref(Program(len(own) // 8, own)), 0, 0)
def f(x): return "no write, no answer"
g = f""",
    "numbers that collide": EVERYWHERE + """
same = ",".join(f'["int","{k * (2 ** 61 - 1):x}"]' for k in range(1, 33_000))
everywhere(f'["values",["set",{same}],true]'.encode())
os._exit(0)""",
    "keys that collide": EVERYWHERE + """
same = ",".join(f'["tuple",["int","{k * (2 ** 61 - 1):x}"],0]' for k in range(1, 25_000))
everywhere(f'["values",["dict",{same}],true]'.encode())
os._exit(0)""",
    "a fraction that takes long": EVERYWHERE + """
long = ["f" * 500_000, "7" * 499_000]
everywhere(f'["values",["Fraction",["int","{long[0]}"],["int","{long[1]}"]],true]'.encode())
os._exit(0)""",
    "numbers without bounds": """
import decimal
def f(x): return decimal.Decimal("1E+999999999999999999")
def g(x): return range(10 ** 30)""",
    "deep answer that is closed": EVERYWHERE + """
deep = b'["list",' * 900 + b"1" + b"]" * 900
everywhere(b'["values",' + deep + b"," + deep + b"]")
os._exit(0)""",
    "abort": "import os\nos.abort()",
    "no value": "f = g = None",
    "arguments changed": """
def f(x): return x
def g(x):
    x[:] = [2, 4]
    return None""",
}  # fmt: skip

BOMBS = {
    "endless loop": "while True: pass",
    "endless loop in the function": "def f(x):\n    while True: pass",
    "endless loop deaf to signals": """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True: pass""",
    "endless output": 'while True: print("x" * 10_000)',
    "endless regular expression": 'import re\nre.match(r"(a+)+$", "a" * 60 + "b")',
    "endless message": """
class E(Exception):
    def __str__(self):
        while True: pass
raise E""",
    "sleeper": "import time\ntime.sleep(10 ** 6)",
    "sleeper in the function": "import time\ndef f(x): time.sleep(10 ** 6)",
    "sleeper without descriptors": "import os, time\nos.closerange(0, 64)\ntime.sleep(10 ** 6)",
}

TRY = """
import os
found = []
def attempt(name, action):
    try:
        result = action()
    except BaseException as error:
        return error
    if result is None or result:
        found.append(name)
def leaks(): return found
"""
PROBES = {
    "files of the home": """
for place in PLACES:
    attempt(place, lambda: open(place).read())
    attempt(place, lambda: os.path.basename(place) in os.listdir(os.path.dirname(place)))
    attempt(place, lambda: os.stat(place))""",
    "files of the system": """
for place in ("/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/environ", "/sys/kernel",
              "/root/.ssh", "/home", "/var", "/run", "/bin", "/etc/hostname"):
    attempt(place, lambda: os.path.exists(place))
import sys
place, own = os.path.split(os.path.realpath(sys.executable))
if place == "/usr/bin":  # the system's interpreter, and nothing beside it
    attempt(place, lambda: set(os.listdir(place)) - {own})
else:
    attempt("/usr/bin", lambda: os.path.exists("/usr/bin"))""",
    "environment": """
allowed = {"PATH", "HOME", "LANG", "PYTHONHASHSEED", "PWD", "LC_CTYPE"}
attempt("environment", lambda: set(os.environ) - allowed)
attempt("secret", lambda: [v for v in os.environ.values() if "SECRET" in v])""",
    "name of the machine": """
import socket
attempt("hostname", lambda: os.uname().nodename != "sandbox")""",
    "writing outside of /tmp": """
import sys
places = ["/x", "/usr/lib/x", "/dev/x", "/home/x", "/root/x", os.path.join(sys.prefix, "x"),
          os.path.dirname(os.__file__) + "/x.py"]
for place in places:
    attempt(place, lambda: open(place, "w").write("x"))
    attempt(place, lambda: os.mkdir(place))
attempt("os.py", lambda: open(os.__file__, "a").write("x"))
attempt("unlink", lambda: os.unlink(os.__file__))
attempt("chmod", lambda: os.chmod(os.__file__, 0o777))""",
    "links": """
os.symlink("/etc/passwd", "/tmp/link")
attempt("read a link", lambda: open("/tmp/link").read())
os.symlink("/usr/lib/planted", "/tmp/out")
attempt("write a link", lambda: open("/tmp/out", "w").write("x"))
os.symlink("../../../../..", "/tmp/up")
attempt("up", lambda: os.path.exists("/tmp/up/etc/passwd"))
attempt("hard link", lambda: os.link(os.__file__, "/tmp/hard"))""",
    "sockets": """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 16, 17, 38, 40):
    attempt(f"socket {family}", lambda: socket.socket(family, socket.SOCK_STREAM))
    attempt(f"datagrams {family}", lambda: socket.socket(family, socket.SOCK_DGRAM))
attempt("pair", lambda: socket.socketpair())
attempt("loopback", lambda: socket.create_connection(("127.0.0.1", PORT), 1))
attempt("outside", lambda: socket.create_connection(("1.1.1.1", 53), 1))
attempt("names", lambda: socket.getaddrinfo("example.com", 80))""",
    "other processes": """
attempt("proc", lambda: os.path.exists("/proc/self"))
attempt("parent", lambda: os.getppid() not in (0, 1))
for number in (os.getppid(), PARENT, 1):
    attempt(f"kill {number}", lambda: number not in (0, 1, os.getpid())
            and os.kill(number, 9) is None)
attempt("fork", os.fork)
attempt("forkpty", os.forkpty)
attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))""",
    "signals": """
import signal
attempt("alive", lambda: os.kill(os.getpid(), 0))
attempt("everybody", lambda: os.kill(-1, signal.SIGTERM))
attempt("group", lambda: os.killpg(0, signal.SIGTERM))
attempt("own thread", lambda: signal.raise_signal(signal.SIGUSR1))
attempt("pidfd", lambda: signal.pidfd_send_signal(os.pidfd_open(os.getpid()), signal.SIGTERM))""",
    "system calls": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    return libc.syscall(*arguments) >= 0
for name, numbers in CALLS.items():
    attempt(name, lambda: call(*numbers))""",
    "namespaces": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000):
    attempt(f"unshare {flag:x}", lambda: libc.unshare(flag) == 0)
attempt("mount", lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0)
attempt("umount", lambda: libc.umount2(b"/tmp", 2) == 0)
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("setuid", lambda: os.setuid(0))
attempt("setgroups", lambda: os.setgroups([0]))""",
    "limits": """
import resource
for name in ("AS", "CPU", "FSIZE", "NOFILE", "CORE"):
    kind = getattr(resource, f"RLIMIT_{name}")
    infinity = resource.RLIM_INFINITY
    attempt(f"limit {kind}", lambda: resource.setrlimit(kind, (infinity, infinity)))
    attempt(f"no limit {kind}", lambda: infinity in resource.getrlimit(kind))
attempt("nice", lambda: os.nice(-10))""",
    "disk": """
import errno
os.chdir("/tmp")
written = 0
def fill():
    global written
    try:
        for number in range(1000):
            with open(f"file{number}", "wb", 0) as file:
                for _ in range(7):
                    written += file.write(b"x" * 2 ** 20)
    except OSError as error:
        return written > 16 * 2 ** 20 or error.errno != errno.ENOSPC
attempt("disk", fill)""",
    "large file": """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open("/tmp/large", "wb", 0) as file:
    attempt("large file", lambda: sum(file.write(b"x" * 2 ** 20) for _ in range(12)))""",
    "many files": """
def many():
    kept = [open("/dev/null") for _ in range(200)]
    return True
attempt("many files", many)""",
    "devices": """
attempt("devices", lambda: set(os.listdir("/dev")) - {"null"})
attempt("terminal", lambda: open("/dev/tty"))
attempt("node", lambda: os.mknod("/tmp/node", 0o600 | 0o060000, 0))""",
    "packages": """
import sys
def imported(name):
    __import__(name)
    return True
for name in ("numpy", "torch", "pip", "qstar_core", "pytest"):
    attempt(name, lambda: imported(name))
attempt("path", lambda: [p for p in sys.path if "site-packages" in p or not p])""",
    "grader in memory": """
import sys
known = ("qstar", "json", "ctypes")
attempt("modules", lambda: [name for name in sys.modules if name.startswith(known)])""",
    "descriptors": """
def opened():
    kept = []
    for fd in range(3, 64):
        try:
            os.fstat(fd)
        except OSError:
            continue
        kept.append(fd)
    return len(kept) > 1
attempt("descriptors", opened)""",
}  # fmt: skip

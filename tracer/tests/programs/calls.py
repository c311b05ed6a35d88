"""Makes system calls by their numbers, each between two marks, and says what each returned.

Standard input is a JSON object: `door` is "syscall" (64-bit) or "int80" (i386's calls from the
same program), `numbers` the calls' numbers by name, `scenes` a list of lists of steps. Each scene
runs in a child of its own. A step is [number, call, arguments], the arguments a Python
expression; without a call it is Python to be run. Standard output is a JSON object: what each
step's call returned, by the step's number; failures are negative.
"""
import ctypes, fcntl, json, mmap, os, socket, struct, sys, time
from struct import pack

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
plan = json.load(sys.stdin)
here = os.getcwd()
worker = os.getppid()
WORD = 4 if plan["door"] == "int80" else 8
# The loopback interface of a network of our own: SIOCSIFFLAGS, IFF_UP.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, 0x8914, pack("16sH14x", b"lo", 1))

# Memory whose addresses fit into 32 bits.
LOW = 0x62  # MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT
arena = mmap.mmap(-1, 1 << 20, flags=LOW, prot=3)
base = ctypes.addressof(ctypes.c_char.from_buffer(arena))
used = 0


def at(data):
    """The address of a copy of these bytes."""
    global used
    place = used
    arena[place:place + len(data)] = data
    used = (place + len(data) + 16) & ~15
    return base + place


def value(argument):
    if argument is None:
        return 0
    if isinstance(argument, str):
        return at(os.fsencode(argument) + b"\0")
    if isinstance(argument, (bytes, bytearray)):
        return at(bytes(argument))
    if isinstance(argument, (list, tuple)):
        mask = (1 << 8 * WORD) - 1
        return at(b"".join((value(one) & mask).to_bytes(WORD, "little") for one in argument))
    return argument


def raw(number, *arguments):
    """A 64-bit call; a failure is a negative errno."""
    result = libc.syscall(*(ctypes.c_long(value(one)) for one in (number, *arguments)))
    return result if result != -1 else -ctypes.get_errno()


# Loads eax, ebx, ecx, edx, esi, edi and ebp from where rdi points to: int 0x80.
STUB = bytes.fromhex("5355" "8b07" "8b5f04" "8b4f08" "8b570c" "8b7710" "8b6f18" "8b7f14" "cd80" "5d5b" "c3")
code = mmap.mmap(-1, 4096, flags=LOW, prot=7)
code[0:len(STUB)] = STUB
by_interrupt = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(
    ctypes.addressof(ctypes.c_char.from_buffer(code)))


def old(number, *arguments):
    """A call by the old door."""
    words = [value(one) & 0xffffffff for one in (number, *arguments)]
    words += [0] * (7 - len(words))
    result = by_interrupt(at(pack("<7I", *words)))
    return result if -4096 < result < 0 else result & 0xffffffff


def mark(text):
    libc.prctl(15, text.encode(), 0, 0, 0)


# For the steps.
def address(port, ip="127.0.0.1"):
    return pack("<H", socket.AF_INET) + pack(">H", port) + socket.inet_aton(ip) + bytes(8)


def handle(path):
    """The file handle of a path, as open_by_handle_at takes it."""
    room = at(pack("<Ii", 128, 0) + bytes(128))
    raw(303, -100, path, room, at(bytes(4)), 0)
    size, = struct.unpack("<I", arena[room - base:room - base + 4])
    return bytes(arena[room - base:room - base + 8 + size])


def message(data, name=None, control=b""):
    """A struct msghdr."""
    vector = [at(data), len(data)]
    return [name, len(name or b""), vector, 1, control or None, len(control), 0]


def rights(descriptor):
    """Control data that carries a descriptor."""
    header = (WORD + 12).to_bytes(WORD, "little") + pack("<ii", socket.SOL_SOCKET, socket.SCM_RIGHTS)
    return header + pack("<i", descriptor)


def sleeper():
    """A child that sleeps until it is killed."""
    pid = os.fork()
    if pid == 0:
        while True:
            time.sleep(1000)
    return pid


# A question for the address of evil.example, and an answer without one.
question = b"\1\2\1\0\0\1\0\0\0\0\0\0\4evil\7example\0\0\1\0\1"
answer = b"\1\2\x81\x80" + question[4:]


def play(scene, results):
    names = dict(globals())
    for number, call, arguments in scene:
        if not call:
            exec(arguments, names)
            continue
        given = eval("(%s,)" % arguments, names)
        given = [value(one) for one in given]
        make = raw if plan["door"] == "syscall" else old
        mark("step %d" % number)
        result = make(plan["numbers"][call], *given)
        if result == 0 and call in ("clone", "clone3"):
            raw(231, 0)
        mark("done %d" % number)
        names["last"] = result
        os.write(results, b"%d %d\n" % (number, result))


results = {}
for scene in plan["scenes"]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            play(scene, writing)
        except BaseException as error:
            os.write(2, repr((scene, error)).encode() + b"\n")
            os._exit(99)
        os._exit(0)
    os.close(writing)
    with open(reading) as lines:
        for line in lines:
            number, result = line.split()
            results[number] = int(result)
    if os.waitpid(child, 0)[1] >> 8 == 99:
        sys.exit(99)
json.dump(results, sys.stdout)

package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// clock is the wall clock of another process, which it steps: of that process
// alone, and without its knowledge. Programs in Go and in C ask the kernel's vDSO
// for the time; in the process's copy of it the answers are changed on the way, as
// a debugger sets a breakpoint. Its monotonic clock goes on as it was, as it does
// where an administrator sets the clock.
type clock struct {
	sqlite bool // the process has SQLite, which asks the kernel itself
	offset time.Duration
	memory []int64 // where the process adds the offset from
	pid    int
}

// answers are the vDSO's functions with an offset added, whose seconds stand
// behind the code.
var answers = map[string][]byte{
	// edi: the clock, rsi: where to write it. The offset is CLOCK_REALTIME's.
	"__vdso_clock_gettime": {
		0xB8, 228, 0, 0, 0, // mov eax, clock_gettime
		0x0F, 0x05, // syscall
		0x85, 0xFF, // test edi, edi
		0x75, 10, // jne to ret
		0x48, 0x8B, 0x0D, 6, 0, 0, 0, // mov rcx, [rip+6]
		0x48, 0x01, 0x0E, // add [rsi], rcx
		0xC3,       // ret
		0x90, 0x90, // to a multiple of 8
	},
	// rdi: where to write it. SQLite asks so.
	"__vdso_gettimeofday": {
		0xB8, 96, 0, 0, 0, // mov eax, gettimeofday
		0x0F, 0x05, // syscall
		0x48, 0x85, 0xFF, // test rdi, rdi
		0x74, 10, // je to ret
		0x48, 0x8B, 0x0D, 5, 0, 0, 0, // mov rcx, [rip+5]
		0x48, 0x01, 0x0F, // add [rdi], rcx
		0xC3, // ret
		0x90,
	},
	// rdi: where to write it besides.
	"__vdso_time": {
		0xB8, 201, 0, 0, 0, // mov eax, time
		0x0F, 0x05, // syscall
		0x48, 0x03, 0x05, 10, 0, 0, 0, // add rax, [rip+10]
		0x48, 0x85, 0xFF, // test rdi, rdi
		0x74, 3, // je to ret
		0x48, 0x89, 0x07, // mov [rdi], rax
		0xC3, // ret
		0x90,
	},
}

// sqliteAsks is modernc.org/libc's clock_gettime, by which SQLite asks the kernel
// itself (ebx: the clock, rcx: where to write it, as Go passes arguments).
const sqliteAsks = "modernc.org/libc.X__clock_gettime"

var sqliteAnswer = []byte{
	0x89, 0xDF, // mov edi, ebx
	0x48, 0x89, 0xCE, // mov rsi, rcx
	0xB8, 228, 0, 0, 0, // mov eax, clock_gettime
	0x0F, 0x05, // syscall
	0x85, 0xFF, // test edi, edi
	0x75, 10, // jne to ret
	0x48, 0x8B, 0x0D, 9, 0, 0, 0, // mov rcx, [rip+9]
	0x48, 0x01, 0x0E, // add [rsi], rcx
	0xC3, // ret
	0x90, 0x90, 0x90, 0x90, 0x90,
}

// begin starts the process with a clock that can be stepped. It is stopped
// before its first instruction, so that no thread of it is where the code changes.
func (c *clock) begin(command *exec.Cmd) (err error) {
	runtime.LockOSThread() // the thread that starts a traced process is its tracer
	defer runtime.UnlockOSThread()
	command.SysProcAttr.Ptrace = true
	if err := command.Start(); err != nil {
		return err
	}
	c.pid = command.Process.Pid
	defer func() {
		if err != nil {
			command.Process.Kill()
			command.Wait()
		}
	}()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(c.pid, &status, 0, nil); err != nil {
		return fmt.Errorf("waiting for the node's first instruction: %w", err)
	}
	if !status.Stopped() {
		return errors.New("the node ended before its first instruction")
	}
	if err := c.patch(command.Path); err != nil {
		return fmt.Errorf("changing the node's clock: %w", err)
	}
	return syscall.PtraceDetach(c.pid)
}

func (c *clock) patch(program string) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.pid))
	if err != nil {
		return err
	}
	var low, high int64
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[vdso]") {
			if _, err := fmt.Sscanf(line, "%x-%x", &low, &high); err != nil {
				return err
			}
		}
	}
	if low == 0 {
		return errors.New("it has no vDSO")
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	image := make([]byte, high-low)
	if _, err := f.ReadAt(image, low); err != nil {
		return err
	}
	e, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return err
	}
	symbols, err := e.DynamicSymbols()
	if err != nil {
		return err
	}
	c.memory = nil
	for _, s := range symbols {
		code, ok := answers[s.Name]
		if !ok {
			continue
		}
		if s.Size < uint64(len(code)+8) || s.Value%8 != 0 {
			return fmt.Errorf("its vDSO leaves %d bytes at %#x for %s", s.Size, s.Value, s.Name)
		}
		if _, err := f.WriteAt(code, low+int64(s.Value)); err != nil {
			return err
		}
		c.memory = append(c.memory, low+int64(s.Value)+int64(len(code)))
	}
	if len(c.memory) != len(answers) {
		return fmt.Errorf("its vDSO has %d of the %d functions that tell the time", len(c.memory), len(answers))
	}
	if c.sqlite {
		at, err := sqliteIn(program)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(sqliteAnswer, at); err != nil {
			return err
		}
		c.memory = append(c.memory, at+int64(len(sqliteAnswer)))
	}
	return c.set(c.offset)
}

// sqliteIn is where a program has the function by which its SQLite asks for the
// time.
func sqliteIn(program string) (int64, error) {
	e, err := elf.Open(program)
	if err != nil {
		return 0, err
	}
	defer e.Close()
	symbols, err := e.Symbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name != sqliteAsks {
			continue
		}
		if e.Type != elf.ET_EXEC || s.Size < uint64(len(sqliteAnswer)+8) {
			return 0, fmt.Errorf("%s of %d bytes can't be changed in it", s.Name, s.Size)
		}
		return int64(s.Value), nil
	}
	return 0, fmt.Errorf("%s has no %s", program, sqliteAsks)
}

// set steps the clock to so much after the true time.
func (c *clock) set(offset time.Duration) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, at := range c.memory {
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(offset/time.Second)), at); err != nil {
			return err
		}
	}
	c.offset = offset
	return nil
}

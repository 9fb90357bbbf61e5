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
// for the time; in the process's copy of it the answer is changed on the way, as
// a debugger sets a breakpoint. Its monotonic clock goes on as it was, as it does
// where an administrator sets the clock.
type clock struct {
	offset time.Duration
	memory int64 // where the process adds the offset from
	pid    int
}

// answer is __vdso_clock_gettime (edi: the clock, rsi: where to write it) with an
// offset added to CLOCK_REALTIME, whose seconds stand behind the code.
var answer = []byte{
	0xB8, 0xE4, 0, 0, 0, // mov eax, 228 (clock_gettime)
	0x0F, 0x05, // syscall
	0x85, 0xFF, // test edi, edi
	0x75, 0x0A, // jne to ret
	0x48, 0x8B, 0x0D, 0x06, 0, 0, 0, // mov rcx, [rip+6]
	0x48, 0x01, 0x0E, // add [rsi], rcx
	0xC3,       // ret
	0x90, 0x90, // to a multiple of 8
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
	if err := c.patch(); err != nil {
		return fmt.Errorf("changing the node's clock: %w", err)
	}
	return syscall.PtraceDetach(c.pid)
}

func (c *clock) patch() error {
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
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		if s.Size < uint64(len(answer)+8) || s.Value%8 != 0 {
			return fmt.Errorf("its vDSO leaves %d bytes at %#x", s.Size, s.Value)
		}
		if _, err := f.WriteAt(answer, low+int64(s.Value)); err != nil {
			return err
		}
		c.memory = low + int64(s.Value) + int64(len(answer))
		return c.set(c.offset)
	}
	return errors.New("its vDSO has no clock_gettime")
}

// set steps the clock to so much after the true time.
func (c *clock) set(offset time.Duration) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(offset/time.Second)), c.memory); err != nil {
		return err
	}
	c.offset = offset
	return nil
}

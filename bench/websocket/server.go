package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// server is the process that is measured.
type server struct {
	lib       library
	inHandler bool
	addr      string
	received  atomic.Int64

	mu    sync.Mutex
	conns []connection
}

// memory is what the process holds after a collection, in bytes.
type memory struct {
	RSS       int64 `json:"rss"`
	HeapStack int64 `json:"heap_stack"`
}

// runServer answers the commands of the parent until its input ends.
func runServer(name string, inHandler bool) error {
	newLibrary, ok := libraries[name]
	if !ok {
		return fmt.Errorf("no library %q", name)
	}
	_ = raiseFileLimit() // the parent has checked it
	s := &server{lib: newLibrary(), inHandler: inHandler}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.addr = ln.Addr().String()
	srv := &http.Server{Handler: s, ReadHeaderTimeout: writeTimeout}
	go func() { _ = srv.Serve(ln) }()
	return serve(map[string]func(n int) (any, error){
		"addr":    func(int) (any, error) { return s.addr, nil },
		"conns":   s.waitConns,
		"memory":  func(int) (any, error) { return readMemory() },
		"peak":    func(int) (any, error) { return statusOf("VmHWM:") },
		"cpu":     func(int) (any, error) { return cpuTime(), nil },
		"fanout":  s.fanOut,
		"receive": s.waitReceived,
	})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, read, err := s.lib.upgrade(w, r, func() { s.received.Add(1) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		return
	}
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	if s.inHandler {
		read()
		return
	}
	go read()
}

func (s *server) waitConns(n int) (any, error) {
	return nil, waitFor(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == n
	})
}

func (s *server) waitReceived(n int) (any, error) {
	return nil, waitFor(func() bool { return s.received.Load() >= int64(n) })
}

// fanOut writes n messages to every connection, all of them to the queues or
// sockets before the clients are asked for what they got.
func (s *server) fanOut(n int) (any, error) {
	payload := []byte(strings.Repeat("x", payloadSize))
	for range n {
		message := s.lib.prepare(payload)
		for _, c := range s.conns {
			if err := message.send(c); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// cpuTime is the user and system time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readMemory collects more than once, because pools are emptied in two steps and the
// stacks of idle goroutines are halved at each, and gives back what is free.
func readMemory() (memory, error) {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss, err := statusOf("VmRSS:")
	return memory{RSS: rss, HeapStack: int64(m.HeapInuse + m.StackInuse)}, err
}

// statusOf is one line of the kernel's account of this process, in bytes.
func statusOf(name string) (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if rest, ok := strings.CutPrefix(line, name); ok {
			_, err := fmt.Sscanf(rest, "%d kB", &kib)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", name)
}

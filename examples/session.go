// Own one worker for many files from Go: a type with Upload(ctx, path).
//
//	session STORE SECONDS FILE...
//
// Uploads every file by one session and prints `<manifest>  <path>` for each, as sha256sum does.
// SECONDS limits each file's time (0: no limit). STORE_WORKERS names the worker.
//
// Exit status: 0 all done, 1 some failed, 130 or 143 cancelled by Ctrl-C or SIGTERM.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	grace  = 5 * time.Second // that a worker gets to stop by itself
	atOnce = 100             // messages under way: the worker would take 1000
)

var terminal = map[string]bool{
	"FILE_UPLOADED": true, "FILE_DOWNLOADED": true, "FILE_VERIFIED": true, "ERROR": true,
}

// Event is one line of the worker's output.
type Event struct {
	Type      string  `json:"type"`
	ID        *string `json:"id"`
	Manifest  string  `json:"manifest"`
	Code      string  `json:"code"`
	Message   string  `json:"message"`
	Retryable bool    `json:"retryable"`
}

// Session is one worker that moves many files. Its methods may be called from many goroutines.
type Session struct {
	worker *exec.Cmd
	stdin  io.WriteCloser
	ended  chan struct{} // closed once the worker said all
	ids    atomic.Int64
	write  sync.Mutex
	lock   sync.Mutex // guards ends
	ends   map[string]chan Event
	lost   Event // how what is not ended ends with the worker; read once ended is closed
}

// Open starts a worker for a store.
func Open(store string, maxFiles int) (*Session, error) {
	path := os.Getenv("STORE_WORKERS")
	if path == "" {
		path = "store-workers.pyz"
	}
	worker := exec.Command("python3", path)
	worker.Stderr = os.Stderr
	// A group of its own: Ctrl-C reaches this owner alone, which then asks the worker to stop.
	worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := worker.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := worker.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := worker.Start(); err != nil {
		return nil, err
	}
	session := &Session{
		worker: worker, stdin: stdin, ended: make(chan struct{}), ends: map[string]chan Event{},
		lost: Event{Type: "ERROR", Code: "CANCELLED", Message: "the worker was lost", Retryable: true},
	}
	go session.read(stdout)
	session.send(map[string]any{
		"type": "SESSION_START", "store": store, "max_files": maxFiles,
		"settings": map[string]any{"progress_interval_ms": 0, "chunk_events": false},
	})
	return session, nil
}

// Upload uploads a file and returns its manifest. A context that is done stops this file alone.
func (s *Session) Upload(ctx context.Context, path string) (string, error) {
	event, err := s.Run(ctx, map[string]any{
		"type": "UPLOAD_START", "path": path, "manifest": true,
	})
	return event.Manifest, err
}

// Run has one message done and returns its last event.
func (s *Session) Run(ctx context.Context, message map[string]any) (Event, error) {
	id := strconv.FormatInt(s.ids.Add(1), 10)
	end := make(chan Event, 1)
	s.lock.Lock()
	s.ends[id] = end
	s.lock.Unlock()
	defer func() {
		s.lock.Lock()
		delete(s.ends, id)
		s.lock.Unlock()
	}()
	message["id"] = id
	s.send(message)
	var event Event
	select {
	case event = <-end:
	case <-s.ended:
		event = s.last(end)
	case <-ctx.Done():
		s.send(map[string]any{"type": "CANCEL", "id": id})
		select { // it leaves nothing half done behind
		case event = <-end:
		case <-s.ended:
			event = s.last(end)
		}
		if event.Type == "ERROR" {
			return event, ctx.Err()
		}
	}
	if event.Type == "ERROR" {
		return event, fmt.Errorf("%s: %s", event.Code, event.Message)
	}
	return event, nil
}

// last returns the event of a message that ended before the worker, or else the worker's own.
func (s *Session) last(end chan Event) Event {
	select {
	case event := <-end:
		return event
	default:
		return s.lost
	}
}

// Close sends no more, and waits until all that was sent is done.
func (s *Session) Close() error {
	s.stdin.Close()
	<-s.ended
	return s.worker.Wait()
}

// Stop ends every file now, and waits until the worker has stopped.
func (s *Session) Stop() {
	_ = s.worker.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(grace):
		_ = s.worker.Process.Kill()
	}
}

// send writes one line; it waits while the worker does not read, so nothing piles up here.
func (s *Session) send(message map[string]any) {
	line, _ := json.Marshal(message)
	s.write.Lock()
	defer s.write.Unlock()
	_, _ = s.stdin.Write(append(line, '\n')) // a worker that ended is noticed by read
}

// read hands each message's last event to whoever waits for it.
func (s *Session) read(stdout io.Reader) {
	defer close(s.ended)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var event Event
		if json.Unmarshal(line, &event) != nil {
			continue
		}
		switch {
		case event.Type == "CHUNK_RETRY" || event.Type == "WARNING":
			fmt.Fprintf(os.Stderr, "%s: %s\n", event.Code, event.Message)
		case event.ID != nil && terminal[event.Type]:
			s.lock.Lock()
			end := s.ends[*event.ID]
			s.lock.Unlock()
			if end != nil {
				end <- event
			}
		case event.ID == nil && event.Type == "ERROR":
			s.lost = event // the session's own
		}
	}
}

func run(store string, limit time.Duration, paths []string) int {
	session, err := Open(store, 8)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	asked := make(chan os.Signal, 2)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM)
	var stoppedBy atomic.Int64
	go func() {
		number := (<-asked).(syscall.Signal)
		stoppedBy.Store(int64(number))
		session.Stop()
	}()
	waiting := make(chan string)
	var failed atomic.Int64
	var all sync.WaitGroup
	for range make([]struct{}, atOnce) {
		all.Add(1)
		go func() {
			defer all.Done()
			for path := range waiting {
				manifest, err := upload(session, limit, path)
				if err == nil {
					fmt.Printf("%s  %s\n", manifest, path)
					continue
				}
				failed.Add(1)
				if errors.Is(err, context.DeadlineExceeded) {
					err = errors.New("out of time")
				}
				if stoppedBy.Load() == 0 {
					fmt.Fprintf(os.Stderr, "%s: %s\n", path, err)
				}
			}
		}()
	}
	for _, path := range paths {
		waiting <- path
	}
	close(waiting)
	all.Wait()
	_ = session.Close()
	if number := stoppedBy.Load(); number != 0 {
		fmt.Fprintln(os.Stderr, "cancelled")
		return 128 + int(number)
	}
	if failed.Load() > 0 {
		return 1
	}
	return 0
}

func upload(session *Session, limit time.Duration, path string) (string, error) {
	ctx := context.Background()
	if limit > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, limit)
		defer done()
	}
	return session.Upload(ctx, path)
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[2], 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	limit := time.Duration(seconds * float64(time.Second))
	os.Exit(run(os.Args[1], limit, os.Args[3:]))
}

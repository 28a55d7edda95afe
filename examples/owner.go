// Own a worker from Go: nothing but the standard library.
//
//	go run owner.go upload   FILE STORE LIST [SECONDS]
//	go run owner.go download FILE STORE LIST [SECONDS]
//
// LIST is where the list of hashes is kept, as JSON with the file's size and SHA-256. SECONDS
// limits the whole transfer. STORE_WORKERS names the worker (default: store-workers.pyz here),
// PYTHON the interpreter (default: python3).
//
// FILE may be a FIFO. Then SECONDS is all that bounds how long it waits for its other end, and what
// was taken from it, or written to it, is not sent again: `retryable` is false.
//
// Exit status: 0 done, 1 failed, 124 out of time, 130 or 143 cancelled by Ctrl-C or SIGTERM.
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
	"syscall"
	"time"
)

const (
	runs  = 5               // how often a message is sent
	pause = time.Second     // before it is sent again, doubled from time to time
	grace = 5 * time.Second // that a worker gets to stop by itself
)

// Event has the fields of all events that this owner looks at.
type Event struct {
	Type          string   `json:"type"`
	Code          string   `json:"code"`
	Message       string   `json:"message"`
	Retryable     bool     `json:"retryable"`
	ReadBytes     *int64   `json:"read_bytes"`
	TotalBytes    *int64   `json:"total_bytes"`
	FetchedChunks int64    `json:"fetched_chunks"`
	TotalChunks   int64    `json:"total_chunks"`
	Size          int64    `json:"size"`
	SHA256        string   `json:"sha256"`
	Hashes        []string `json:"hashes"`
	DurationMs    int64    `json:"duration_ms"`
}

// List is the key to a stored file.
type List struct {
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
	Hashes []string `json:"hashes"`
}

// transfer sends a message until it is done, cannot be, or ctx ends; it returns the last event.
func transfer(ctx context.Context, message map[string]any, onEvent func(Event)) (Event, error) {
	for run := 0; ; run++ {
		last, err := runOnce(ctx, message, onEvent)
		if err != nil || last.Type != "ERROR" || !last.Retryable || run+1 == runs {
			return last, err
		}
		// The next run finds what this one stored: nothing is sent twice.
		select {
		case <-time.After(pause << run):
		case <-ctx.Done():
			return last, nil
		}
	}
}

// runOnce runs one worker and returns its last event.
func runOnce(ctx context.Context, message map[string]any, onEvent func(Event)) (Event, error) {
	line, err := json.Marshal(message)
	if err != nil {
		return Event{}, err
	}
	worker := exec.Command(env("PYTHON", "python3"), env("STORE_WORKERS", "store-workers.pyz"))
	worker.Stderr = os.Stderr
	// A group of its own: Ctrl-C reaches this owner alone, which then asks the worker to stop.
	worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := worker.StdinPipe()
	if err != nil {
		return Event{}, err
	}
	stdout, err := worker.StdoutPipe()
	if err != nil {
		return Event{}, err
	}
	if err := worker.Start(); err != nil {
		return Event{}, err
	}
	ended := make(chan struct{})
	defer close(ended)
	go stopAtEnd(ctx, worker.Process, ended)
	go func() {
		stdin.Write(append(line, '\n')) // it may end early: its last line says why
		stdin.Close()
	}()
	last, err := readEvents(stdout, onEvent)
	status := worker.Wait()
	if err != nil {
		return last, err
	}
	switch last.Type {
	case "FILE_UPLOADED", "FILE_DOWNLOADED", "ERROR":
		return last, nil
	}
	text := fmt.Sprintf("the worker ended without a last event: %v", status)
	again := canBeRepeated(message["path"].(string))
	return Event{Type: "ERROR", Code: "CANCELLED", Message: text, Retryable: again}, nil
}

// canBeRepeated tells whether a lost run can be: what it took from a pipe, or wrote to one, is gone.
func canBeRepeated(path string) bool {
	found, err := os.Stat(path)
	return err != nil || found.Mode().IsRegular()
}

// readEvents reads to the end. Lines can be long: the last one has 67 bytes for every chunk.
func readEvents(stdout io.Reader, onEvent func(Event)) (last Event, err error) {
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		last = Event{}
		if err := json.Unmarshal(line, &last); err != nil {
			return last, err
		}
		onEvent(last)
	}
}

// stopAtEnd asks the worker to stop when ctx ends, and sees to it that it does.
func stopAtEnd(ctx context.Context, worker *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
		worker.Signal(syscall.SIGTERM)
	}
	select {
	case <-ended:
	case <-time.After(grace):
		worker.Kill()
	}
}

// show tells a person how far it is.
func show(event Event) {
	switch event.Type {
	case "PROGRESS":
		if event.ReadBytes == nil {
			fmt.Fprintf(os.Stderr, "fetched %d of %d\n", event.FetchedChunks, event.TotalChunks)
		} else if event.TotalBytes == nil {
			fmt.Fprintf(os.Stderr, "read %d bytes\n", *event.ReadBytes)
		} else {
			fmt.Fprintf(os.Stderr, "read %d of %d bytes\n", *event.ReadBytes, *event.TotalBytes)
		}
	case "CHUNK_RETRY", "WARNING":
		fmt.Fprintf(os.Stderr, "%s: %s\n", event.Code, event.Message)
	}
}

// keep writes the list of hashes, whole or not at all: it is the key to the file.
func keep(path string, list List) error {
	content, err := json.Marshal(list)
	if err != nil {
		return err
	}
	aside, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer aside.Close()
	if _, err := aside.Write(content); err != nil {
		return err
	}
	if err := aside.Sync(); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

func messageFor(action, file, store, list string) (map[string]any, error) {
	message := map[string]any{
		"path":     file,
		"store":    store,
		"settings": map[string]int{"max_attempts": 3, "progress_interval_ms": 500},
	}
	if action == "upload" {
		message["type"], message["sha256"] = "UPLOAD_START", true
		return message, nil
	}
	content, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	var kept List
	if err := json.Unmarshal(content, &kept); err != nil {
		return nil, err
	}
	message["type"] = "DOWNLOAD_START"
	message["size"], message["sha256"], message["hashes"] = kept.Size, kept.SHA256, kept.Hashes
	return message, nil
}

func run(action, file, store, list string, seconds float64) int {
	message, err := messageFor(action, file, store, list)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	if seconds > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
	}
	defer cancel()
	stoppedBy := make(chan int, 1)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		stoppedBy <- 128 + int((<-signals).(syscall.Signal))
		cancel()
	}()
	last, err := transfer(ctx, message, show)
	if err == nil && last.Type == "FILE_UPLOADED" {
		err = keep(list, List{last.Size, last.SHA256, last.Hashes})
	}
	if err == nil && last.Type != "ERROR" {
		fmt.Fprintf(os.Stderr, "%sed %d bytes in %d ms\n", action, last.Size, last.DurationMs)
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		fmt.Fprintf(os.Stderr, "%s: %s\n", last.Code, last.Message)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 124
	}
	select {
	case status := <-stoppedBy:
		return status
	default:
		return 1
	}
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func main() {
	arguments := append(os.Args[1:], "0")
	if len(arguments) < 5 {
		fmt.Fprintln(os.Stderr, "usage: owner (upload|download) FILE STORE LIST [SECONDS]")
		os.Exit(2)
	}
	seconds, err := strconv.ParseFloat(arguments[4], 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(run(arguments[0], arguments[1], arguments[2], arguments[3], seconds))
}

// Own a worker from Go: nothing but the standard library.
//
//	go run owner.go upload   FILE STORE [SECONDS]
//	go run owner.go download FILE STORE MANIFEST [SECONDS]
//
// An upload prints the file's manifest: the one hash that gets it back. SECONDS limits the whole
// transfer. STORE_WORKERS names the worker (default: store-workers.pyz here), PYTHON the
// interpreter (default: python3).
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
	Type          string `json:"type"`
	Code          string `json:"code"`
	Message       string `json:"message"`
	Retryable     bool   `json:"retryable"`
	ReadBytes     *int64 `json:"read_bytes"`
	TotalBytes    *int64 `json:"total_bytes"`
	FetchedChunks int64  `json:"fetched_chunks"`
	TotalChunks   int64  `json:"total_chunks"`
	Size          int64  `json:"size"`
	Manifest      string `json:"manifest"`
	DurationMs    int64  `json:"duration_ms"`
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

// readEvents reads to the end. But for an error's text no line is longer than 4 KiB.
func readEvents(stdout io.Reader, onEvent func(Event)) (last Event, err error) {
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		last = Event{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return last, err
		}
		onEvent(last)
	}
	return last, lines.Err()
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

func messageFor(action, file, store, manifest string) map[string]any {
	message := map[string]any{
		"path":     file,
		"store":    store,
		"settings": map[string]int{"max_attempts": 3, "progress_interval_ms": 500},
	}
	if action == "upload" {
		message["type"], message["manifest"] = "UPLOAD_START", true
	} else {
		message["type"], message["manifest"] = "DOWNLOAD_START", manifest
	}
	return message
}

func run(action, file, store, manifest string, seconds float64) int {
	message := messageFor(action, file, store, manifest)
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
	if err == nil && last.Type != "ERROR" {
		if action == "upload" {
			fmt.Println(last.Manifest)
		}
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
	arguments := append(os.Args[1:], "0") // no limit, where none is given
	if len(arguments) > 3 && arguments[0] == "upload" {
		// It takes no manifest.
		arguments = append([]string{"upload", arguments[1], arguments[2], ""}, arguments[3:]...)
	}
	if len(arguments) < 5 {
		fmt.Fprintln(os.Stderr, "usage: owner upload FILE STORE [SECONDS]")
		fmt.Fprintln(os.Stderr, "       owner download FILE STORE MANIFEST [SECONDS]")
		os.Exit(2)
	}
	seconds, err := strconv.ParseFloat(arguments[4], 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(run(arguments[0], arguments[1], arguments[2], arguments[3], seconds))
}

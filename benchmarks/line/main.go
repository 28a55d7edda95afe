// A line in a program: what is sent to it comes out at a server, later and no faster than said.
//
//	line -to 127.0.0.1:8333 -delay 50ms -rate 125000000
//
// prints the address that it listens on (a port of 127.0.0.1) and runs until it is killed. Every
// byte is held back for -delay in each direction, so the round trip is twice that; connecting
// costs one, too. All connections together move -rate bytes per second in each direction (0: no
// limit). What the line cannot take yet stays with the sender, as behind a router with a short
// queue.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"time"
)

const (
	pieceSize  = 32 << 10              // bytes of one connection between two turns of others
	queue      = 20 * time.Millisecond // how far ahead of its time a piece may be taken in
	socketSize = 1 << 20               // bytes of the sockets' buffers
	onTheWay   = 4096                  // pieces of one connection between its two ends
)

// direction is one of the two ways: all connections share its rate.
type direction struct {
	mutex sync.Mutex
	free  time.Time // when the line has sent all that it took
	rate  float64   // bytes per second
}

// take waits for the line's turn and returns when n bytes have left at the other end.
func (d *direction) take(n int, delay time.Duration) time.Time {
	now := time.Now()
	if d.rate == 0 {
		return now.Add(delay)
	}
	d.mutex.Lock()
	if d.free.Before(now) {
		d.free = now
	}
	d.free = d.free.Add(time.Duration(float64(n) / d.rate * float64(time.Second)))
	sent := d.free
	d.mutex.Unlock()
	time.Sleep(time.Until(sent.Add(-queue)))
	return sent.Add(delay)
}

// piece is a few bytes under way; nil bytes are the end of the stream.
type piece struct {
	bytes []byte
	due   time.Time
}

var pieces = sync.Pool{New: func() any { return make([]byte, pieceSize) }}

// carry moves all bytes from one end to the other, and returns when the last one has come out.
func carry(to, from *net.TCPConn, way *direction, delay time.Duration) {
	line := make(chan piece, onTheWay)
	out := make(chan struct{})
	defer func() { <-out }()
	go func() {
		defer close(out)
		for next := range line {
			time.Sleep(time.Until(next.due))
			if next.bytes == nil {
				break
			}
			_, err := to.Write(next.bytes)
			pieces.Put(next.bytes[:pieceSize]) //nolint:staticcheck // slices of one size
			if err != nil {
				from.Close()
				break
			}
		}
		to.CloseWrite()
		for range line { // whoever sends must not be held up
		}
	}()
	for {
		buffer := pieces.Get().([]byte)
		n, err := from.Read(buffer)
		if n > 0 {
			line <- piece{buffer[:n], way.take(n, delay)}
		}
		if err != nil {
			if err != io.EOF {
				to.Close()
			}
			line <- piece{nil, time.Now().Add(delay)}
			close(line)
			return
		}
	}
}

func serve(client *net.TCPConn, server string, up, down *direction, delay time.Duration) {
	time.Sleep(2 * delay) // the handshake
	connection, err := net.Dial("tcp", server)
	if err != nil {
		client.Close()
		return
	}
	far := connection.(*net.TCPConn)
	for _, end := range []*net.TCPConn{client, far} {
		end.SetReadBuffer(socketSize)
		end.SetWriteBuffer(socketSize)
	}
	var both sync.WaitGroup
	both.Add(2)
	go func() { defer both.Done(); carry(far, client, up, delay) }()
	go func() { defer both.Done(); carry(client, far, down, delay) }()
	both.Wait()
	client.Close()
	far.Close()
}

func main() {
	server := flag.String("to", "", "the server's host:port")
	delay := flag.Duration("delay", 50*time.Millisecond, "one way")
	rate := flag.Float64("rate", 0, "bytes per second each way, 0 for no limit")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	up, down := &direction{rate: *rate}, &direction{rate: *rate}
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(client.(*net.TCPConn), *server, up, down, *delay)
	}
}

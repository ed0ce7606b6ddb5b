// Command load is what stands in containers and beside them when networks are tried and
// measured: a server and a client of UDP, of a stream of bytes, and of many DNS queries.
// It needs nothing of its container but itself.
package main

import (
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const usage = `usage:
  load udp-serve ADDRESS               answer each packet with who sent it, and the packet
  load udp-ask ADDRESS TEXT            send a packet, print the answer
  load tcp-serve ADDRESS               send bytes to whoever connects, for as long as it reads
  load tcp-echo ADDRESS                send back each byte
  load tcp-ping ADDRESS COUNT          send a byte and wait for it, so often; print microseconds a round trip
  load tcp-get ADDRESS MB              read so many megabytes of it, print megabytes a second
  load dns ADDRESS NAME COUNT N        ask so often for a name, from N sockets at once, print answers a second
  load sleep                           do nothing`

func main() {
	verbs := map[string]func([]string) error{
		"udp-serve": udpServe, "udp-ask": udpAsk, "tcp-serve": tcpServe, "tcp-get": tcpGet, "tcp-echo": tcpEcho, "tcp-ping": tcpPing, "dns": dns,
		"sleep": func([]string) error { time.Sleep(time.Duration(math.MaxInt64)); return nil },
	}
	args := append(os.Args, "", "", "", "", "")
	verb := verbs[args[1]]
	if verb == nil {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := verb(args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func udpServe(args []string) error {
	c, err := net.ListenPacket("udp", args[0])
	if err != nil {
		return err
	}
	buf := make([]byte, 65535)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		c.WriteTo(append([]byte(from.(*net.UDPAddr).IP.String()+" "), buf[:n]...), from)
	}
}

func udpAsk(args []string) error {
	c, err := net.Dial("udp", args[0])
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte(args[1])); err != nil {
		return err
	}
	buf := make([]byte, 65535)
	n, err := c.Read(buf)
	fmt.Println(string(buf[:n]))
	return err
}

func tcpServe(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for {
				if _, err := c.Write(zeros); err != nil {
					return
				}
			}
		}()
	}
}

func tcpGet(args []string) error {
	megabytes, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	begin := time.Now()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(c, megabytes<<20), make([]byte, 1<<20)); err != nil {
		return err
	}
	fmt.Printf("%.0f\n", float64(megabytes)/time.Since(begin).Seconds())
	return nil
}

func tcpEcho(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			for b := make([]byte, 1); ; {
				if _, err := c.Read(b); err != nil {
					return
				}
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}()
	}
}

func tcpPing(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	begin, b := time.Now(), make([]byte, 1)
	for range count {
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
	fmt.Printf("%.1f\n", float64(time.Since(begin).Microseconds())/float64(count))
	return nil
}

func dns(args []string) error {
	count, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	clients, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	name, err := dnsmessage.NewName(args[1] + ".")
	if err != nil {
		return err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	query, err := m.Pack()
	if err != nil {
		return err
	}
	var asked, failures atomic.Int64
	begin := time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			c, err := net.Dial("udp", args[0])
			if err != nil {
				failures.Add(1)
				return
			}
			defer c.Close()
			q, buf := append([]byte(nil), query...), make([]byte, 4096)
			for id := uint16(1); asked.Add(1) <= count; id++ {
				q[0], q[1] = byte(id>>8), byte(id)
				c.SetDeadline(time.Now().Add(2 * time.Second))
				c.Write(q)
				n, err := c.Read(buf)
				if err != nil || n < 12 || buf[0] != q[0] || buf[1] != q[1] || buf[3]&15 != 0 || buf[7] == 0 {
					failures.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := failures.Load(); n > 0 {
		return fmt.Errorf("%d queries of %d were not answered", n, count)
	}
	fmt.Printf("%.0f\n", float64(count)/time.Since(begin).Seconds())
	return nil
}

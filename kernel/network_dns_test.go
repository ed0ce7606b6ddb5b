package kernel

import (
	"io"
	stdnet "net"
	"testing"
	"time"

	"lighter/linux/net"
)

func TestDNSSockets(t *testing.T) {
	n, _ := host(t)
	ns := sandbox(t, n)
	for range 2 { // the second time an engine has died
		udp, tcp, err := n.DNS(ns)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{}, 2)
		go func() {
			defer func() { done <- struct{}{} }()
			buf := make([]byte, 100)
			n, from, err := udp.ReadFrom(buf)
			if err == nil {
				_, err = udp.WriteTo(buf[:n], from)
			}
			if err != nil {
				t.Error(err)
			}
		}()
		go func() {
			defer func() { done <- struct{}{} }()
			c, err := tcp.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(c, "answer")
			c.Close()
		}()
		err = net.In(ns, func() error {
			// The container may use port 53 itself.
			own, err := stdnet.ListenPacket("udp4", "0.0.0.0:53")
			if err != nil {
				return err
			}
			defer own.Close()
			for _, network := range []string{"udp", "tcp"} {
				c, err := stdnet.Dial(network, "127.0.0.11:53")
				if err != nil {
					return err
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(soon))
				if network == "udp" {
					io.WriteString(c, "answer") // the read below tells
				}
				buf := make([]byte, 100)
				got, err := c.Read(buf)
				if err != nil || string(buf[:got]) != "answer" {
					t.Errorf("%s: %q, %v", network, buf[:got], err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		udp.Close()
		tcp.Close()
		<-done
		<-done
	}
}

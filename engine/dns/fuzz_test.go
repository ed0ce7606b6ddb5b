package dns

import "testing"

// FuzzConf reads the host's resolv.conf.
func FuzzConf(f *testing.F) {
	f.Add("nameserver 1.2.3.4\nnameserver fe80::1%eth0\nsearch a b\noptions ndots:5 timeout:x\n# x\nnameserver\n")
	f.Add("nameserver\t::1\r\nsortlist 1/2\ndomain")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range ParseConf(text).Servers {
			if !s.IsValid() {
				t.Errorf("%q: an address that is none", text)
			}
		}
	})
}

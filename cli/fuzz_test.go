package cli

import (
	"testing"

	"github.com/spf13/pflag"

	"lighter/api"
)

// FuzzFlags gives any text to each kind of flag that takes more than a word. What it takes it
// can say again.
func FuzzFlags(f *testing.F) {
	for _, s := range []string{
		"nofile=1:2", "cpu", "/dev/x:1mb", "/dev/x:500", "all", "device=0,1\",capabilities=x", "name=x,ip=1.2.3.4,driver-opt=a=b",
		"type=bind,src=/a,dst=/b,ro,bind-propagation=rshared", "type=tmpfs,dst=/x,tmpfs-size=1g,tmpfs-mode=1777", "type=image,\"src=a,b\"", "label=a=b", "1.5g", "-1", "0.000001",
		"tcp://[::1]:2375", "unix:///a", "ssh://x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var values []string
		for _, v := range []pflag.Value{
			ulimitFlag{}, &weightFlag{}, &throttleFlag{}, &throttleFlag{bytes: true}, &gpuFlag{}, &networkFlag{}, &mountFlag{warn: func(string, ...any) {}}, list(&values, nil), &mapFlag{values: map[string]string{}}, newFilters(),
			new(bytesFlag), new(swapFlag), new(cpusFlag),
		} {
			if v.Set(text) == nil {
				_ = v.String()
			}
		}
		parseHost(text, false)
		parseTemplate("x", text)
		api.ParseFilters(text)
	})
}

package image

import (
	"testing"

	"lighter/api"
)

// FuzzChange applies an instruction of a Dockerfile to an image's configuration.
func FuzzChange(f *testing.F) {
	for _, s := range []string{
		`CMD ["a","b"]`, "CMD a b", "ENV A=b C=$A", "ENV A b", "EXPOSE 80 90-92/udp", "USER x", "WORKDIR ../x", "VOLUME [\"/a\"]", "LABEL a=\"b c\"",
		"ONBUILD RUN x", "STOPSIGNAL 9", "HEALTHCHECK --interval=1s CMD x", "SHELL [\"a\"]", "ENTRYPOINT []", "RUN x", "\\", "ENV ${A:-${B}}=x", "EXPOSE 99999-1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config := &api.ContainerConfig{Env: []string{"A=1", "x"}, WorkingDir: "/w"}
		if Change(config, []string{text}) == nil {
			if err := Change(config, []string{text}); err != nil {
				t.Errorf("%q: once it is taken, twice not: %v", text, err)
			}
		}
	})
}

package image

import (
	"encoding/json"
	"testing"

	"lighter/api"
)

// What Docker 28.5 made of `docker import -c …`, as it printed it: the config that
// `docker inspect` showed, or the error.
func TestChangeAsDockers(t *testing.T) {
	for _, row := range [][2]string{
		{"BAD x", "BAD is not a valid change command"},
		{"RUN x", "RUN is not a valid change command"},
		{"MAINTAINER x", "MAINTAINER is not a valid change command"},
		{"SHELL [\"a\"]", "SHELL is not a valid change command"},
		{"ARG x", "ARG is not a valid change command"},
		{"", "file with no instructions"},
		{"# c", "file with no instructions"},
		{"CMD", `{"Cmd":["/bin/sh","-c"]}`},
		{"cmd x", `{"Cmd":["/bin/sh","-c","x"]}`},
		{`CMD ["a"`, `{"Cmd":["/bin/sh","-c","[\"a\""]}`},
		{`CMD ["a","b"]`, `{"Cmd":["a","b"]}`},
		{"CMD --foo x", "unknown flag: --foo"},
		{"CMD <<EOF", `{"Cmd":["/bin/sh","-c","\u003c\u003cEOF"]}`},
		{`ENTRYPOINT ["a",]`, `{"Entrypoint":["/bin/sh","-c","[\"a\",]"]}`},
		{"ENTRYPOINT [\"e\"]\nCMD [\"c\"]", `{"Entrypoint":["e"],"Cmd":["c"]}`},
		{"ENV", "ENV requires at least one argument"},
		{"ENV a", "ENV must have two arguments"},
		{"ENV a=$B b=${a:-x}", `{"Env":["a=","b=x"]}`},
		{"ENV a=1\nENV b=$a a=2", `{"Env":["a=2","b=1"]}`},
		{`ENV a="x`, `failed to process "\"x": unexpected end of statement while looking for matching double-quote`},
		{"EXPOSE foo", "Invalid containerPort: foo"},
		{"EXPOSE 70000", "Invalid containerPort: 70000"},
		{"EXPOSE 1/foo", "Invalid proto: foo"},
		{"EXPOSE 80-82/tcp", `{"ExposedPorts":{"80/tcp":{},"81/tcp":{},"82/tcp":{}}}`},
		{"EXPOSE $x", `{}`},
		{"ENV p=\"1 2/udp\"\nEXPOSE $p", `{"ExposedPorts":{"1/tcp":{},"2/udp":{}},"Env":["p=1 2/udp"]}`},
		{"EXPOSE 8080:80", `{"ExposedPorts":{"80/tcp":{}}}`},
		{"VOLUME", "VOLUME requires at least one argument"},
		{`VOLUME [""]`, "VOLUME specified can not be an empty string"},
		{"VOLUME a b", `{"Volumes":{"a":{},"b":{}}}`},
		{"STOPSIGNAL FOO", "invalid signal: FOO"},
		{"STOPSIGNAL", "STOPSIGNAL requires exactly one argument"},
		{"STOPSIGNAL 99", `{"StopSignal":"99"}`},
		{"LABEL a", "LABEL must have two arguments"},
		{"LABEL a=b c", `Syntax error - can't find = in "c". Must be of the form: name=value`},
		{"LABEL a=b c=d", `{"Labels":{"a":"b","c":"d"}}`},
		{"USER", "USER requires exactly one argument"},
		{"USER ${x:?err}", `failed to process "${x:?err}": x: err`},
		{"USER me:us", `{"User":"me:us"}`},
		{"WORKDIR", "WORKDIR requires exactly one argument"},
		{"WORKDIR rel", `{"WorkingDir":"/rel"}`},
		{"WORKDIR /a/../b", `{"WorkingDir":"/b"}`},
		{"WORKDIR /a\nWORKDIR b", `{"WorkingDir":"/a/b"}`},
		{"ONBUILD RUN x", `{"OnBuild":["RUN x"]}`},
		{"ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"},
		{"ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"},
		{"HEALTHCHECK --interval=1s CMD x", `{"Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":1000000000}}`},
		{"HEALTHCHECK FOO", `Unknown type "FOO" in HEALTHCHECK (try CMD)`},
		{"HEALTHCHECK --interval=1us CMD x", `Interval "interval" cannot be less than 1ms`},
		{"HEALTHCHECK --retries=x CMD a", `strconv.ParseInt: parsing "x": invalid syntax`},
		{"HEALTHCHECK NONE", `{"Healthcheck":{"Test":["NONE"]}}`},
	} {
		var c api.ContainerConfig
		err := Change(&c, []string{row[0]})
		got := ""
		if err != nil {
			got = err.Error()
			if !api.Is(err, api.Invalid) {
				t.Errorf("%q: the error %q is of kind %d", row[0], got, api.KindOf(err))
			}
		} else {
			b, _ := json.Marshal(runConfig(c))
			got = string(b)
		}
		var want, have any
		if json.Unmarshal([]byte(row[1]), &want) == nil && json.Unmarshal([]byte(got), &have) == nil {
			a, _ := json.Marshal(want)
			b, _ := json.Marshal(have)
			if string(a) == string(b) {
				continue
			}
		}
		if got != row[1] {
			t.Errorf("%q:\n got %s\nwant %s", row[0], got, row[1])
		}
	}
}

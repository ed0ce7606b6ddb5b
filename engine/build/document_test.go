package build

import (
	"encoding/json"
	"testing"
	"time"
)

func TestDocument(t *testing.T) {
	base := `{"history":[{"created":"2020-01-01T00:00:00Z","created_by":"base"}]}`
	config := `{"os":"linux","zz":1,"config":{"Healthcheck":{"Test":["CMD-SHELL","true"],"Retries":3}},
		"history":[{"created":"2020-01-01T00:00:00Z","created_by":"base"},{"created_by":"RUN x"},{"created_by":"HEALTHCHECK {Test:[CMD-SHELL true]}","empty_layer":true}]}`
	epoch := time.Unix(1_600_000_000, 0).UTC()
	for _, c := range []struct {
		diffs []string
		want  string
	}{
		{[]string{"sha256:a", "sha256:b"}, `[{"created":"2020-01-01T00:00:00Z","created_by":"base"},{"created":"2020-09-13T12:26:40Z","created_by":"RUN x"},` +
			`{"created":"2020-09-13T12:26:40Z","created_by":"HEALTHCHECK \u0026{[\"CMD-SHELL\" \"true\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x03'}","empty_layer":true}]`},
		{[]string{"sha256:a"}, `[{"created":"2020-01-01T00:00:00Z","created_by":"base"},{"created":"2020-09-13T12:26:40Z","created_by":"RUN x","empty_layer":true},` +
			`{"created":"2020-09-13T12:26:40Z","created_by":"HEALTHCHECK \u0026{[\"CMD-SHELL\" \"true\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x03'}","empty_layer":true}]`},
	} {
		raw, err := document([]byte(config), []byte(base), c.diffs, epoch, false)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			History json.RawMessage
			Created time.Time
			Zz      int
			Rootfs  struct {
				DiffIDs []string `json:"diff_ids"`
			}
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if string(got.History) != c.want || !got.Created.Equal(epoch) || got.Zz != 1 || len(got.Rootfs.DiffIDs) != len(c.diffs) {
			t.Errorf("%s\nwant %s", raw, c.want)
		}
	}
	if _, err := document([]byte("null"), nil, nil, epoch, false); err == nil {
		t.Error("a config that is none is taken")
	}
}

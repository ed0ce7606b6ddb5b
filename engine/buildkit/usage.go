package buildkit

import (
	"context"
	"slices"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"lighter/api"
)

// DiskUsage tells what the cache holds.
func (c *control) DiskUsage(ctx context.Context, r *controlapi.DiskUsageRequest) (*controlapi.DiskUsageResponse, error) {
	filters, err := filtersOf(r.Filter)
	if err != nil {
		return nil, err
	}
	records, err := c.config.Builder.Usage(ctx, filters)
	if err != nil {
		return nil, err
	}
	out := &controlapi.DiskUsageResponse{}
	for _, u := range records {
		out.Record = append(out.Record, usageOf(u))
	}
	return out, nil
}

func usageOf(u api.BuildCache) *controlapi.UsageRecord {
	return &controlapi.UsageRecord{
		ID: u.ID, InUse: u.InUse, Shared: u.Shared, Size: u.Size, Description: u.Description, RecordType: u.Type,
		UsageCount: int64(u.UsageCount), CreatedAt: textStamp(u.CreatedAt), LastUsedAt: textStamp(u.LastUsedAt),
	}
}

func textStamp(text string) *timestamppb.Timestamp {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return nil // never used
	}
	return timestamppb.New(t)
}

// Prune drops what the cache can do without, and tells what went.
func (c *control) Prune(r *controlapi.PruneRequest, stream grpc.ServerStreamingServer[controlapi.UsageRecord]) (err error) {
	filters, err := filtersOf(r.Filter)
	if err != nil {
		return err
	}
	if r.KeepDuration > 0 {
		filters.Add("unused-for", time.Duration(r.KeepDuration).String())
	}
	end, err := begin(stream.Context(), nil)
	if err != nil {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	defer func() { end(err) }()
	before, err := c.config.Builder.Usage(stream.Context(), nil)
	if err != nil {
		return err
	}
	gone, err := c.config.Builder.Prune(stream.Context(), api.BuildPrune{
		All: r.All, Keep: r.ReservedSpace, MaxUsed: r.MaxUsedSpace, MinFree: r.MinFreeSpace, Filters: filters,
	})
	if err != nil {
		return err
	}
	for _, u := range before {
		if !slices.Contains(gone.CachesDeleted, u.ID) {
			continue
		}
		if err := stream.Send(usageOf(u)); err != nil {
			return err
		}
	}
	return nil
}

// filtersOf reads filters of containerd's form: name, name==value, several of a text all to match.
func filtersOf(texts []string) (api.Filters, error) {
	out := api.Filters{}
	if len(texts) > 1 {
		return nil, status.Error(codes.Unimplemented, "several alternative filters are not applied: give one, its parts between commas")
	}
	for _, text := range texts {
		if text == "" {
			continue // as Docker's client sends for none
		}
		for clause := range strings.SplitSeq(text, ",") {
			name, value, _ := strings.Cut(clause, "==")
			if strings.ContainsAny(name, "~!<>=\"") {
				return nil, status.Errorf(codes.Unimplemented, "filter %q: only name and name==value are applied", clause)
			}
			out.Add(strings.TrimSpace(name), strings.Trim(strings.TrimSpace(value), `"`))
		}
	}
	return out, nil
}

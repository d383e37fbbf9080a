package sqlstore

import (
	"strings"
	"time"
)

// timeGrain is how late a time may be written of rows that change together: the
// latest of theirs then stands in all of them. A CASE over 256 ids costs the
// server half as much again as the whole statement without it.
const timeGrain = 50 * time.Millisecond

// each is a value for each row of an UPDATE: values is parallel to ids, or holds
// one value that all rows share.
type each struct {
	ids    []string
	values []any
}

// eachTime is a time for each row, up to timeGrain late.
func eachTime(ids []string, times []time.Time) each {
	first, last := times[0], times[0]
	for _, t := range times[1:] {
		if t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	if last.Sub(first) <= timeGrain {
		return each{ids, []any{formatTime(last)}}
	}
	return eachOwnTime(ids, times)
}

// eachOwnTime is a time for each row, as it is.
func eachOwnTime(ids []string, times []time.Time) each {
	values := make([]any, len(times))
	for i, t := range times {
		values[i] = formatTime(t)
	}
	return each{ids, values}
}

// fillEach writes values at the marks {each} of a query, in their order, and
// returns the arguments that belong there.
func (s *Store) fillEach(query string, values ...each) (text string, args []any) {
	for _, v := range values {
		if len(v.values) == 1 {
			query = strings.Replace(query, "{each}", "?", 1)
			args = append(args, v.values[0])
			continue
		}
		query = strings.Replace(query, "{each}", s.q.caseOfID+strings.Repeat(" WHEN ? THEN ?", len(v.ids))+" END", 1)
		for i, id := range v.ids {
			args = append(args, id, v.values[i])
		}
	}
	return query, args
}

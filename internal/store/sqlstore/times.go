package sqlstore

import (
	"database/sql"
	"fmt"
	"time"
)

// timeLayout has a fixed width, so that SQLite can compare times as text.
const timeLayout = "2006-01-02 15:04:05.000000"

// timeArg gives a time as an argument; NULL for the zero time.
func timeArg(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return formatTime(t)
}

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// parseTime reads what timeLayout wrote, with as many fractional digits as the
// column kept. A zero date of MySQL is no time.
func parseTime(column string, v sql.NullString) (time.Time, error) {
	if !v.Valid || len(v.String) >= 10 && v.String[:10] == "0000-00-00" {
		return time.Time{}, nil
	}
	t, err := time.ParseInLocation("2006-01-02 15:04:05.999999999", v.String, time.UTC)
	if err != nil {
		return time.Time{}, fmt.Errorf("column %s: %w", column, err)
	}
	return t, nil
}

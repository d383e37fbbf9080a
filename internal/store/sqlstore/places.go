package sqlstore

import "strings"

// The indexes have a user's rows by state and number, so that what is unfinished
// is found at once. There is none by number alone, as each index costs every
// send: what reads rows of all states by number reads the first rows of each place
// where they can be and merges them, so that a page costs a page.

// mysqlPlaces and sqlitePlaces are the conditions of those places. Other writers
// may know states that we do not.
var (
	mysqlPlaces = []string{
		"status = 'PENDING'", "status = 'DELIVERING'", "status = 'REQUEST_DELIVERED'", "status = 'FINISHED'", "status = 'TIMED_OUT'",
		"status NOT IN ('PENDING', 'DELIVERING', 'REQUEST_DELIVERED', 'FINISHED', 'TIMED_OUT')",
	}
	// SQLite has an index of the unfinished rows, by state and number, and one of
	// the others, by number.
	sqlitePlaces = []string{
		"status = 'PENDING' AND " + unfinishedStates, "status = 'DELIVERING' AND " + unfinishedStates,
		"status = 'REQUEST_DELIVERED' AND " + unfinishedStates, endedStates,
	}
)

// historySQL reads up or down from a number. Each place takes the arguments user,
// user, number and limit, and the whole another limit.
func historySQL(places []string, compare, order string) string {
	parts := make([]string, len(places))
	for i, place := range places {
		parts[i] = "SELECT * FROM (SELECT id AS key_id, seq AS key_seq FROM push_messages WHERE target_user_id = ? AND {user} = ? AND " + place +
			" AND seq " + compare + " ? AND " + visible + " ORDER BY seq" + order + ", id" + order + " LIMIT ?) place"
	}
	return "SELECT {columns} FROM (" + strings.Join(parts, "\nUNION ALL ") + "\nORDER BY key_seq" + order + ", key_id" + order + " LIMIT ?) page\n" +
		"JOIN push_messages ON id = key_id ORDER BY seq" + order + ", id" + order
}

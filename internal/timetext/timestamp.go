package timetext

// ParseTimestamp reads an RFC 3339 time with any offset and returns its Unix milliseconds; digits beyond milliseconds are
// cut. It takes the years 0000 to 9999, wants T and Z in upper case, and refuses leap seconds and dates that do not
// exist. It allocates nothing.
func ParseTimestamp[T string | []byte](s T) (ms int64, ok bool) {
	const shortest = len("2006-01-02T15:04:05Z")
	if len(s) < shortest || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	century, year := twoDigits(s, 0), twoDigits(s, 2)
	month, dayOfMonth := twoDigits(s, 5), twoDigits(s, 8)
	hour, minute, second := twoDigits(s, 11), twoDigits(s, 14), twoDigits(s, 17)
	if century|year|month|dayOfMonth|hour|minute|second < 0 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	year += century * 100
	if month < 1 || month > 12 || dayOfMonth < 1 || dayOfMonth > daysIn(year, month) {
		return 0, false
	}
	i, fraction, weight := 19, 0, 100
	if s[i] == '.' {
		start := i + 1
		for i = start; i < len(s) && s[i]-'0' <= 9; i++ {
			fraction += int(s[i]-'0') * weight
			weight /= 10
		}
		if i == start || i == len(s) {
			return 0, false
		}
	}
	offset, ok := parseOffset(s[i:])
	if !ok {
		return 0, false
	}
	seconds := (daysSinceEpoch(year, month, dayOfMonth)*24+int64(hour))*3600 + int64(minute*60+second-offset*60)
	return seconds*1000 + int64(fraction), true
}

// parseOffset reads Z or ±hh:mm and returns minutes east of UTC.
func parseOffset[T string | []byte](s T) (minutes int, ok bool) {
	if len(s) == 1 && s[0] == 'Z' {
		return 0, true
	}
	if len(s) != len("+01:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	hour, minute := twoDigits(s, 1), twoDigits(s, 4)
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, false
	}
	if s[0] == '-' {
		return -(hour*60 + minute), true
	}
	return hour*60 + minute, true
}

// twoDigits returns the number at s[at:at+2]; -1 if that is not two digits.
func twoDigits[T string | []byte](s T, at int) int {
	high, low := s[at]-'0', s[at+1]-'0'
	if high > 9 || low > 9 {
		return -1
	}
	return int(high)*10 + int(low)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSinceEpoch counts days from 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March, so
// that the leap day is the last of its year.
func daysSinceEpoch(year, month, dayOfMonth int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	if year < 0 {
		era = -1
	}
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + dayOfMonth - 1
	return int64(era*146097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719468)
}

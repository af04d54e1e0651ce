module switchover.test/guest

go 1.24

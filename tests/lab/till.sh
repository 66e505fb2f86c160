# Furnishes the till's own file system in a fresh mount namespace, then holds it open: till.sh RUN RESOLV_CONF
run=$1
mount --make-rprivate /
mount -t sysfs sysfs /sys       # a fresh sysfs shows this network namespace's interfaces
mount --bind "$2" /etc/resolv.conf
mkdir -p "$run/disk"
mount -t tmpfs -o size=16m tmpfs "$run/disk"
echo ready
exec sleep infinity

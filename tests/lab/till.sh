# Furnishes the till's own file system in a fresh mount namespace, then holds it open: till.sh RUN RESOLV_CONF
#
# /sys and /dev become writable overlays over the real ones, so that a USB terminal can be laid into them as files;
# the machine's own are never written.
run=$1
hw=$run/hw
mount --make-rprivate /
mount -t sysfs sysfs /sys       # a fresh sysfs shows this network namespace's interfaces
mkdir -p "$hw" "$run/disk"
mount -t tmpfs tmpfs "$hw"
mkdir "$hw/sys" "$hw/sys.work" "$hw/dev" "$hw/dev.work" "$hw/pts" "$hw/shm"
mount --bind /dev/pts "$hw/pts"
mount --bind /dev/shm "$hw/shm"
mount -t overlay overlay -o "lowerdir=/sys,upperdir=$hw/sys,workdir=$hw/sys.work" /sys
mount -t overlay overlay -o "lowerdir=/dev,upperdir=$hw/dev,workdir=$hw/dev.work" /dev
mount --move "$hw/pts" /dev/pts
mount --move "$hw/shm" /dev/shm
mkdir -p /sys/bus/usb/devices /sys/bus/usb/drivers/cdc_acm /dev/serial/by-id
mount --bind "$2" /etc/resolv.conf
mount -t tmpfs -o size=16m tmpfs "$run/disk"
echo ready
exec sleep infinity

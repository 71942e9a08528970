#!/bin/sh
# demo.sh BOARD [MODEL]: the firmware built and run. MODEL: a .kde file, or a .safetensors, which is quantised
# first. Without one a small network is trained for a minute, so that there is something to show.
set -eu
board=$1 model=${2:-} out=build/firmware/$1
here=examples/firmware
kd=build/bin/kd
mkdir -p "$out"

data=synthetic
if [ -d "${KD_DATA:-data}/cifar-10-batches-bin" ]; then data=cifar-10; fi
if [ -z "$model" ]; then
    model=build/firmware/small.kde
    if [ ! -s "$model" ]; then
        echo "no network given: a small one is trained for a minute on $data"
        rm -rf build/firmware/small
        $kd train vgg8_bn,classes=10,image=32,convs=1-2-2-1,stages=16-32-64-64 --data $data --budget-seconds 60 --quiet \
            --batch 128 --lr 0.1 --schedule onecycle --out build/firmware/small
        $kd export build/firmware/small/model.safetensors --int8 --calibrate $data --edge "$model"
    fi
fi
case $model in
*.kde) ;;
*)
    $kd export "$model" --int8 --calibrate $data --edge "$out/network.kde"
    model=$out/network.kde ;;
esac
sh $here/build.sh "$model" "$board" "$out"
sh $here/run.sh "$board" "$out"

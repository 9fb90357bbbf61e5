package inference
import ("context";"os";"encoding/json";"unsafe";"math";"fmt"
"github.com/pulmonode/pulmonode/inference/result"
"github.com/pulmonode/pulmonode/inference/localize"
"github.com/pulmonode/pulmonode/inference/refine")
func (p *Pipeline) prepare(ctx context.Context, paths []string, s *result.Series, w *stopwatch) (*image, error) {
 d:=paths[0]; var m struct{Shape [3]int; Spacing, Origin [3]float64; Q [3]int; Mid int}
 b,_:=os.ReadFile(d+"/meta.json"); if err:=json.Unmarshal(b,&m);err!=nil{return nil,err}
 hu,_:=os.ReadFile(d+"/hu"); q,_:=os.ReadFile(d+"/q"); l,_:=os.ReadFile(d+"/lung")
 g:=&result.Grid{Rows:m.Shape[1],Columns:m.Shape[2],Orientation:[6]float64{1,0,0,0,1,0},PixelSpacing:[2]float64{m.Spacing[1],m.Spacing[2]},SliceSpacing:m.Spacing[0]}
 for k:=range m.Shape[0]{ g.Instances=append(g.Instances,result.Instance{SOPInstanceUID:fmt.Sprint("1.2.",k+1),Position:result.Point{m.Origin[2],m.Origin[1],m.Origin[0]+float64(k)*m.Spacing[0]}}) }
 HU:=unsafe.Slice((*int16)(unsafe.Pointer(&hu[0])),len(hu)/2)
 im:=&image{}; nx,ny,nz:=m.Shape[2],m.Shape[1],m.Shape[0]
 at:=func(x,y,z int) float32 { return float32(HU[(min(z,nz-1)*ny+min(y,ny-1))*nx+min(x,nx-1)]) }
 im.ct=refine.CT{Grid:g,HU:HU,NX:nx,NY:ny,NZ:nz}
 im.ct.Planes=func(c,s [3]float64,k0,k1 int) []float32 { var out []float32
  cl:=func(p float64,n int)(int,float32){p=min(max(p,0),float64(n-1)); i:=int(p); return i,float32(p-float64(i))}
  mix:=func(a,b,t float32) float32 {return a+float32((b-a)*t)}
  for k:=k0;k<=k1;k++{ z,tz:=cl(c[2]+float64(k)*s[0]/m.Spacing[0],nz); for j:=range 64{ y,ty:=cl(c[1]+(float64(j)-31.5)*s[1]/m.Spacing[1],ny); for i:=range 64 { x,tx:=cl(c[0]+(float64(i)-31.5)*s[2]/m.Spacing[2],nx)
   zz:=func(x,y int) float32 {return mix(at(x,y,z),at(x,y,z+1),tz)}
   yy:=func(x int) float32 {return mix(zz(x,y),zz(x,y+1),ty)}
   v:=mix(yy(x),yy(x+1),tx); v=min(max(v,-1000),500); out=append(out,float32(math.Floor(float64(float32((v+1000)*float32(0.682))+0.5)))/1023) }}}
  return out }
 im.coarse=localize.Image{Q:unsafe.Slice((*uint16)(unsafe.Pointer(&q[0])),len(q)/2),Lung:l,NX:m.Q[2],NY:m.Q[1],NZ:m.Q[0]}
 im.voxel=func(v [3]float64)[3]float64{return [3]float64{v[0]/m.Spacing[2],v[1]/m.Spacing[1],v[2]/m.Spacing[0]}}
 im.side=func(x,y,z int)string{X,Y,Z:=int(float64(x)*m.Spacing[2]+.5),int(float64(y)*m.Spacing[1]+.5),int(float64(z)*m.Spacing[0]+.5); if X<0||Y<0||Z<0||X>=m.Q[2]||Y>=m.Q[1]||Z>=m.Q[0]||l[(Z*m.Q[1]+Y)*m.Q[2]+X]==0{return ""}; if X<m.Mid {return "right"}; return "left"}
 w.done(StageLoad)
 return im,nil
}
